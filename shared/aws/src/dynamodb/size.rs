//! The size of an item in bytes, by DynamoDB's rules.

use aws_sdk_dynamodb::types::AttributeValue;

use super::item::Item;

/// Bytes an item may have.
pub const LARGEST_ITEM: usize = 400 * 1024;

/// Bytes of an item: names and values.
pub(super) fn of(item: &Item) -> usize {
    item.iter().map(|(name, value)| name.len() + of_value(value)).sum()
}

/// Bytes of a value.
pub(super) fn of_value(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::S(text) => text.len(),
        // One byte for two digits, and one more.
        AttributeValue::N(digits) => digits.len().div_ceil(2) + 1,
        AttributeValue::B(bytes) => bytes.as_ref().len(),
        AttributeValue::L(elements) => {
            3 + elements.iter().map(|element| 1 + of_value(element)).sum::<usize>()
        }
        AttributeValue::M(fields) => {
            3 + fields.iter().map(|(name, field)| 1 + name.len() + of_value(field)).sum::<usize>()
        }
        // Sets are not used.
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_count() {
        let item = Item::from([
            ("trace_id".to_owned(), AttributeValue::S("x".repeat(32))),
            ("n".to_owned(), AttributeValue::N("12345".to_owned())),
            ("l".to_owned(), AttributeValue::L(vec![AttributeValue::Null(true), AttributeValue::Bool(true)])),
        ]);
        assert_eq!(of(&item), (8 + 32) + (1 + 4) + (1 + 3 + 2 + 2));
    }
}
