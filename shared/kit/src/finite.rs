//! Finds a number that JSON does not have. `serde_json` writes null for it, which the next step could not read as a
//! number, or would take for a missing value.

use std::fmt::Display;

use serde::Serialize;
use serde::ser::{self, Serializer};

/// The place of the first float in `value` that is NaN or infinite; empty if it is the value itself.
pub(crate) fn not_finite<T: Serialize>(value: &T) -> Option<String> {
    match value.serialize(Finite) {
        Err(NotFinite::At(place)) => Some(place),
        // What cannot be serialized at all is another matter.
        Ok(()) | Err(NotFinite::Unknown) => None,
    }
}

#[derive(Debug, thiserror::Error)]
enum NotFinite {
    /// Written from the inside out.
    #[error("{0} is not a finite number")]
    At(String),
    #[error("it cannot be serialized")]
    Unknown,
}

impl NotFinite {
    fn below(self, field: &str) -> Self {
        match self {
            Self::At(place) if place.is_empty() || place.starts_with('[') => {
                Self::At(format!("{field}{place}"))
            }
            Self::At(place) => Self::At(format!("{field}.{place}")),
            Self::Unknown => Self::Unknown,
        }
    }
}

impl ser::Error for NotFinite {
    fn custom<T: Display>(_: T) -> Self {
        Self::Unknown
    }
}

/// Serializes to nothing.
struct Finite;

/// What is inside of a value. Names are made only for a number that is wrong: every step is looked at.
#[derive(Default)]
struct Inside {
    variant: Option<&'static str>,
    position: usize,
    key: String,
}

type Looked = Result<(), NotFinite>;

impl Inside {
    fn of(variant: &'static str) -> Self {
        Self { variant: Some(variant), ..Self::default() }
    }

    fn look<T: Serialize + ?Sized>(&self, value: &T, name: impl FnOnce() -> String) -> Looked {
        value.serialize(Finite).map_err(|error| {
            let error = error.below(&name());
            match self.variant {
                Some(variant) => error.below(variant),
                None => error,
            }
        })
    }

    fn field<T: Serialize + ?Sized>(&self, name: &str, value: &T) -> Looked {
        self.look(value, || name.to_owned())
    }

    fn item<T: Serialize + ?Sized>(&mut self, value: &T) -> Looked {
        let position = self.position;
        self.position += 1;
        self.look(value, || format!("[{position}]"))
    }
}

impl Serializer for Finite {
    type Ok = ();
    type Error = NotFinite;
    type SerializeSeq = Inside;
    type SerializeTuple = Inside;
    type SerializeTupleStruct = Inside;
    type SerializeTupleVariant = Inside;
    type SerializeMap = Inside;
    type SerializeStruct = Inside;
    type SerializeStructVariant = Inside;

    fn serialize_f32(self, value: f32) -> Looked {
        self.serialize_f64(value.into())
    }

    fn serialize_f64(self, value: f64) -> Looked {
        if value.is_finite() { Ok(()) } else { Err(NotFinite::At(String::new())) }
    }

    fn serialize_bool(self, _: bool) -> Looked {
        Ok(())
    }

    fn serialize_i8(self, _: i8) -> Looked {
        Ok(())
    }

    fn serialize_i16(self, _: i16) -> Looked {
        Ok(())
    }

    fn serialize_i32(self, _: i32) -> Looked {
        Ok(())
    }

    fn serialize_i64(self, _: i64) -> Looked {
        Ok(())
    }

    fn serialize_i128(self, _: i128) -> Looked {
        Ok(())
    }

    fn serialize_u8(self, _: u8) -> Looked {
        Ok(())
    }

    fn serialize_u16(self, _: u16) -> Looked {
        Ok(())
    }

    fn serialize_u32(self, _: u32) -> Looked {
        Ok(())
    }

    fn serialize_u64(self, _: u64) -> Looked {
        Ok(())
    }

    fn serialize_u128(self, _: u128) -> Looked {
        Ok(())
    }

    fn serialize_char(self, _: char) -> Looked {
        Ok(())
    }

    fn serialize_str(self, _: &str) -> Looked {
        Ok(())
    }

    fn serialize_bytes(self, _: &[u8]) -> Looked {
        Ok(())
    }

    fn serialize_none(self) -> Looked {
        Ok(())
    }

    fn serialize_unit(self) -> Looked {
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Looked {
        Ok(())
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, _: &'static str) -> Looked {
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Looked {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Looked {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Looked {
        value.serialize(self).map_err(|error| error.below(variant))
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Inside, NotFinite> {
        Ok(Inside::default())
    }

    fn serialize_tuple(self, _: usize) -> Result<Inside, NotFinite> {
        Ok(Inside::default())
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Inside, NotFinite> {
        Ok(Inside::default())
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Inside, NotFinite> {
        Ok(Inside::of(variant))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Inside, NotFinite> {
        Ok(Inside::default())
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Inside, NotFinite> {
        Ok(Inside::default())
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Inside, NotFinite> {
        Ok(Inside::of(variant))
    }
}

impl ser::SerializeSeq for Inside {
    type Ok = ();
    type Error = NotFinite;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Looked {
        self.item(value)
    }

    fn end(self) -> Looked {
        Ok(())
    }
}

impl ser::SerializeTuple for Inside {
    type Ok = ();
    type Error = NotFinite;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Looked {
        self.item(value)
    }

    fn end(self) -> Looked {
        Ok(())
    }
}

impl ser::SerializeTupleStruct for Inside {
    type Ok = ();
    type Error = NotFinite;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Looked {
        self.item(value)
    }

    fn end(self) -> Looked {
        Ok(())
    }
}

impl ser::SerializeTupleVariant for Inside {
    type Ok = ();
    type Error = NotFinite;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Looked {
        self.item(value)
    }

    fn end(self) -> Looked {
        Ok(())
    }
}

/// A map's key as a name.
fn name_of<T: Serialize + ?Sized>(key: &T) -> String {
    let key = serde_json::to_value(key).unwrap_or_default();
    key.as_str().map_or_else(|| key.to_string(), ToOwned::to_owned)
}

impl ser::SerializeMap for Inside {
    type Ok = ();
    type Error = NotFinite;

    fn serialize_entry<K: Serialize + ?Sized, V: Serialize + ?Sized>(
        &mut self,
        key: &K,
        value: &V,
    ) -> Looked {
        self.look(value, || name_of(key))
    }

    /// For types that write keys and values one by one.
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Looked {
        self.key = name_of(key);
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Looked {
        self.field(&self.key, value)
    }

    fn end(self) -> Looked {
        Ok(())
    }
}

impl ser::SerializeStruct for Inside {
    type Ok = ();
    type Error = NotFinite;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Looked {
        self.field(name, value)
    }

    fn end(self) -> Looked {
        Ok(())
    }
}

impl ser::SerializeStructVariant for Inside {
    type Ok = ();
    type Error = NotFinite;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Looked {
        self.field(name, value)
    }

    fn end(self) -> Looked {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Serialize)]
    enum Load {
        Of { rates: Vec<(u8, Option<f32>)> },
    }

    #[test]
    fn the_place_of_a_number_that_json_has_not_is_found() {
        let at = |rate| {
            not_finite(&BTreeMap::from([("load", Load::Of { rates: vec![(1, None), (2, Some(rate))] })]))
        };
        assert_eq!(at(1.5), None);
        for rate in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(at(rate).as_deref(), Some("load.Of.rates[1][1]"));
        }
        assert_eq!(not_finite(&f64::NAN).as_deref(), Some(""));
    }
}
