//! Finds the value that serde complains of where it does not say which.
//!
//! serde reads tagged enums and flattened fields from a copy, and an error out of the copy has no place. So the values
//! are read again with every scalar replaced by a marker of another type. The error names the marker that is read
//! first; its value is put back, and so on in the order of reading, until the first error is there again: the value
//! that was put back last is the one.
//!
//! Unless the error is about several values together, such as an end before its beginning. Then it comes after all of
//! them, in whatever order they are; an error about one value comes before a marker that is behind it.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// Scalars that are looked at, at most. The values are read up to three times for each.
const SCALARS: usize = 200;
/// Values that are read, all repetitions together.
const READ: u64 = 200_000;
/// The first marker: a number that is in no text by chance.
const MARK: u64 = 735_560_800_000_000;
/// Errors that are never about a scalar.
const NOT_OF_A_SCALAR: [&str; 7] = [
    "missing field",
    "duplicate field",
    "unknown field",
    "invalid length",
    "invalid type: map",
    "invalid type: sequence",
    "data did not match",
];

/// The place of the scalar in `values` that makes reading them as `T` end with the error `said`. One reading looks at
/// `reads` values.
pub(super) fn culprit<T: DeserializeOwned>(values: &Value, said: &str, reads: u64) -> Option<String> {
    let mut scalars = Scalars::default();
    scalars.collect(values, String::new(), String::new());
    let is_too_much = scalars.found.len() > SCALARS || scalars.found.len() as u64 * reads > READ;
    if is_too_much || NOT_OF_A_SCALAR.iter().any(|beginning| said.starts_with(beginning)) {
        return None;
    }
    let mut marked = values.clone();
    for (scalar, mark) in scalars.found.iter().zip(MARK..) {
        put_marker(&mut marked, &scalar.pointer, mark)?;
    }
    // In the order of reading.
    let mut read: Vec<&Scalar> = Vec::new();
    while read.len() <= scalars.found.len() {
        let error = T::deserialize(&marked).err()?.to_string();
        if error == said {
            break;
        }
        let scalar = scalars.found.iter().zip(MARK..).find(|(_, mark)| error.contains(&mark.to_string()))?.0;
        *marked.pointer_mut(&scalar.pointer)? = values.pointer(&scalar.pointer)?.clone();
        // The tag of an enum is read before everything beside it.
        if !error.contains("variant") {
            read.push(scalar);
        }
    }
    let last = read.pop()?;
    let parent = last.parent();
    let mut beside = read.iter().filter(|scalar| scalar.parent() == parent);
    let mut others = beside.by_ref().filter_map(|other| comes_before::<T>(values, last, other, said));
    let is_one_value = others.next().is_none_or(|first| first || others.any(|comes_before| comes_before));
    is_one_value.then(|| last.place.clone())
}

/// Whether the error about `last` comes before a marker in `other`, which is behind it; none if `other` is not read
/// together with it, so that its order in the values says nothing.
fn comes_before<T: DeserializeOwned>(
    values: &Value,
    last: &Scalar,
    other: &Scalar,
    said: &str,
) -> Option<bool> {
    let error_with = |marks: &[(&Scalar, u64)]| {
        let mut marked = values.clone();
        for (scalar, mark) in marks {
            put_marker(&mut marked, &scalar.pointer, *mark)?;
        }
        move_to_front(&mut marked, &last.pointer)?;
        Some(T::deserialize(&marked).err()?.to_string())
    };
    let both = error_with(&[(last, MARK), (other, MARK + 1)])?;
    if both.contains(&MARK.to_string()) { Some(error_with(&[(other, MARK)])? == said) } else { None }
}

fn put_marker(values: &mut Value, pointer: &str, mark: u64) -> Option<()> {
    let scalar = values.pointer_mut(pointer)?;
    *scalar = if scalar.is_string() { mark.into() } else { mark.to_string().into() };
    Some(())
}

/// Makes a value the first of the object or list it is in.
fn move_to_front(values: &mut Value, pointer: &str) -> Option<()> {
    let (parent, key) = pointer.rsplit_once('/')?;
    match values.pointer_mut(parent)? {
        Value::Array(items) => {
            let item = items.remove(key.parse().ok()?);
            items.insert(0, item);
        }
        Value::Object(members) => {
            let (key, value) = members.shift_remove_entry(&unescaped(key))?;
            members.shift_insert(0, key, value);
        }
        _ => {}
    }
    Some(())
}

fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

fn unescaped(key: &str) -> String {
    key.replace("~1", "/").replace("~0", "~")
}

struct Scalar {
    /// The JSON pointer.
    pointer: String,
    /// The place as messages name it.
    place: String,
}

impl Scalar {
    fn parent(&self) -> &str {
        self.pointer.rsplit_once('/').map_or("", |(parent, _)| parent)
    }
}

/// The scalars of values.
#[derive(Default)]
struct Scalars {
    found: Vec<Scalar>,
}

impl Scalars {
    fn collect(&mut self, value: &Value, pointer: String, place: String) {
        if self.found.len() > SCALARS {
            return;
        }
        match value {
            Value::Null => {}
            Value::Array(values) => {
                for (at, value) in values.iter().enumerate() {
                    self.collect(value, format!("{pointer}/{at}"), format!("{place}[{at}]"));
                }
            }
            Value::Object(values) => {
                for (key, value) in values {
                    let escaped = escaped(key);
                    let place = if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
                    self.collect(value, format!("{pointer}/{escaped}"), place);
                }
            }
            _ => self.found.push(Scalar { pointer, place }),
        }
    }
}
