//! One conditional update, put together from its parts.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::update_item::{UpdateItemError, UpdateItemOutput};
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};
use bk_plugin_core::ids::TraceId;
use bk_plugin_core::store_error::StoreError;

use super::item::{FORMAT, Item, number, text};
use super::size;
use crate::unavailable::unavailable;

/// Why an update was not made.
#[derive(Debug)]
pub(super) enum Failed {
    /// The condition does not hold. The item as it is, if there is one.
    Condition(Option<Item>),
    /// The item would exceed DynamoDB's limit.
    TooLarge,
    /// Anything else.
    Store(StoreError),
}

/// One update of an invocation's item. In expressions, `#name` is the attribute `name` and `:name` its new value.
#[derive(Debug, Clone)]
pub(super) struct Update {
    trace_id: TraceId,
    set: Vec<String>,
    remove: Vec<String>,
    conditions: Vec<&'static str>,
    values: BTreeMap<String, AttributeValue>,
    returning: Option<ReturnValue>,
}

/// Condition: this release can read the item. It changes nothing that a newer one has written.
const READABLE: &str = "(attribute_not_exists(#format) OR #format <= :readable)";

impl Update {
    pub(super) fn of(trace_id: &TraceId) -> Self {
        Self {
            trace_id: trace_id.clone(),
            set: Vec::new(),
            remove: Vec::new(),
            conditions: vec![READABLE],
            values: BTreeMap::from([(":readable".to_owned(), number(FORMAT))]),
            returning: None,
        }
    }

    /// Sets an attribute.
    pub(super) fn set(mut self, name: &str, value: AttributeValue) -> Self {
        self.set.push(format!("#{name} = :{name}"));
        self.with(name, value)
    }

    /// Sets attributes.
    pub(super) fn set_all(
        self,
        attributes: impl IntoIterator<Item = (&'static str, AttributeValue)>,
    ) -> Self {
        attributes.into_iter().fold(self, |update, (name, value)| update.set(name, value))
    }

    /// Sets an attribute unless it exists.
    pub(super) fn set_if_absent(mut self, name: &str, value: AttributeValue) -> Self {
        self.set.push(format!("#{name} = if_not_exists(#{name}, :{name}_if_absent)"));
        self.with(&format!("{name}_if_absent"), value)
    }

    /// Sets an attribute; without a value, leaves it or removes it.
    pub(super) fn set_or_remove(self, name: &str, value: Option<AttributeValue>, leave: bool) -> Self {
        match value {
            Some(value) => self.set(name, value),
            None if leave => self,
            None => self.remove(name),
        }
    }

    /// Appends an element to a list, and creates the list if it does not exist.
    pub(super) fn append(mut self, name: &str, element: AttributeValue) -> Self {
        self.set.push(format!("#{name} = list_append(if_not_exists(#{name}, :no_{name}), :{name})"));
        self.with(&format!("no_{name}"), AttributeValue::L(Vec::new()))
            .with(name, AttributeValue::L(vec![element]))
    }

    /// Copies one part of the item, as it was before the update, to another.
    pub(super) fn copy(mut self, to: &str, from: &str) -> Self {
        self.set.push(format!("{to} = {from}"));
        self
    }

    /// Removes an attribute, or an element of a list.
    pub(super) fn remove(mut self, path: &str) -> Self {
        self.remove.push(format!("#{path}"));
        self
    }

    /// Makes the update conditional; all conditions must hold.
    pub(super) fn when(mut self, condition: &'static str) -> Self {
        self.conditions.push(condition);
        self
    }

    /// Adds a value that an expression names.
    pub(super) fn with(mut self, name: &str, value: AttributeValue) -> Self {
        self.values.insert(format!(":{name}"), value);
        self
    }

    /// Asks for the item to be returned.
    pub(super) fn returning(self, what: ReturnValue) -> Self {
        Self { returning: Some(what), ..self }
    }

    /// Bytes that the update adds.
    pub(super) fn size(&self) -> usize {
        self.values.values().map(size::of_value).sum()
    }

    pub(super) async fn run(self, client: &Client, table: &str) -> Result<UpdateItemOutput, Failed> {
        // Larger values fit into no item.
        if self.size() > size::LARGEST_ITEM {
            return Err(Failed::TooLarge);
        }
        let (update, condition) = (self.expression(), self.conditions.join(" AND "));
        let mut request = client
            .update_item()
            .table_name(table)
            .key("trace_id", text(&self.trace_id))
            .set_return_values(self.returning.clone())
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        for name in names(&update).chain(names(&condition)).collect::<BTreeSet<_>>() {
            request = request.expression_attribute_names(format!("#{name}"), name);
        }
        // A value that no expression names is refused by DynamoDB.
        for (name, value) in self.values {
            if mentions(&update, &name) || mentions(&condition, &name) {
                request = request.expression_attribute_values(name, value);
            }
        }
        let request = request.update_expression(update).condition_expression(condition);
        request.send().await.map_err(|error| Failed::of(&error))
    }

    fn expression(&self) -> String {
        let part = |keyword, parts: &[String]| {
            if parts.is_empty() { String::new() } else { format!("{keyword} {} ", parts.join(", ")) }
        };
        part("SET", &self.set) + &part("REMOVE", &self.remove)
    }
}

/// The names of attributes in an expression: whatever begins with `#`.
fn names(expression: &str) -> impl Iterator<Item = &str> {
    let is_of_name = |character: char| character.is_ascii_lowercase() || character == '_';
    expression.split('#').skip(1).map(move |rest| {
        let end = rest.find(|character| !is_of_name(character)).unwrap_or(rest.len());
        &rest[..end]
    })
}

/// Whether a value is named in an expression.
fn mentions(expression: &str, value: &str) -> bool {
    let goes_on = |rest: &str| rest.starts_with(|next: char| next.is_ascii_alphanumeric() || next == '_');
    expression.match_indices(value).any(|(at, _)| !goes_on(&expression[at + value.len()..]))
}

impl Failed {
    fn of(error: &SdkError<UpdateItemError>) -> Self {
        match error.as_service_error() {
            Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
                Self::Condition(failed.item.clone().filter(|item| !item.is_empty()))
            }
            Some(refused) if refused.message().is_some_and(|message| message.contains("Item size")) => {
                Self::TooLarge
            }
            _ => Self::Store(unavailable(error)),
        }
    }
}

/// The item is full: not even a lease fits.
pub(super) fn no_room() -> StoreError {
    StoreError::Unavailable("the item has no room for a lease".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_found_in_expressions() {
        let update = Update::of(&TraceId::random())
            .set("state", AttributeValue::N("1".to_owned()))
            .append("inbox", AttributeValue::Null(true))
            .copy("#consumed[3]", "#receipts[0]")
            .remove("receipts[0]");
        let expression = update.expression();
        assert_eq!(
            expression,
            "SET #state = :state, #inbox = list_append(if_not_exists(#inbox, :no_inbox), :inbox), \
             #consumed[3] = #receipts[0] REMOVE #receipts[0] "
        );
        let found: BTreeSet<&str> = names(&expression).collect();
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["consumed", "inbox", "receipts", "state"]);
        assert!(mentions(&expression, ":inbox") && mentions(&expression, ":state"));
        assert!(!mentions("#a = :state_before", ":state"));
    }
}
