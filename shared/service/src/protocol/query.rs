//! A JSON object as the fields of a query string or a form, by the rules of the reference (Django's `urlencode`
//! with `doseq`): a list stands for its items, a nested object for its keys.

use bk_plugin_core::JsonObject;
use serde_json::Value;

/// A field is null, which has no text. (The reference fails with a `TypeError`.)
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key} is or contains null, which cannot stand in a query string or a form")]
pub(super) struct NullField {
    pub(super) key: String,
}

/// Name and text of every field.
pub(super) fn fields(data: &JsonObject) -> Result<Vec<(&str, String)>, NullField> {
    let mut fields = Vec::with_capacity(data.len());
    for (key, value) in data {
        let null = || NullField { key: key.clone() };
        match value {
            Value::Object(object) => fields.extend(object.keys().map(|name| (key.as_str(), name.clone()))),
            Value::Array(items) => {
                for item in items {
                    fields.push((key, text(item).ok_or_else(null)?));
                }
            }
            value => fields.push((key, text(value).ok_or_else(null)?)),
        }
    }
    Ok(fields)
}

/// The text of one value; for a list or an object its JSON.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        value => Some(value.to_string()),
    }
}

/// The query string of `data`.
pub(super) fn query_string(data: &JsonObject) -> Result<String, NullField> {
    Ok(form_urlencoded::Serializer::new(String::new()).extend_pairs(fields(data)?).finish())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn query(data: &Value) -> Result<String, NullField> {
        query_string(data.as_object().unwrap())
    }

    #[test]
    fn objects_as_query_strings() {
        for (data, wanted) in [
            (json!({}), ""),
            (json!({"a": 1, "b": "中 &", "c": true, "d": 1.5}), "a=1&b=%E4%B8%AD+%26&c=true&d=1.5"),
            (json!({"a": ["1", 2], "e": []}), "a=1&a=2"),
            (json!({"d": {"x": 1, "y": null}}), "d=x&d=y"),
            (json!({"l": [[1], {"a": 1}]}), "l=%5B1%5D&l=%7B%22a%22%3A1%7D"),
        ] {
            assert_eq!(query(&data).unwrap(), wanted);
        }
        assert_eq!(query(&json!({"a": null})), Err(NullField { key: "a".to_owned() }));
        assert_eq!(query(&json!({"a": [1, null]})), Err(NullField { key: "a".to_owned() }));
    }
}
