//! A deserializer that has no values: it leads a type to one place in itself, and notes what is asked for there.

use std::cell::RefCell;
use std::fmt::{self, Display};
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess,
    SeqAccess, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

/// One step deeper into a type.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// To the value of a field or key, or to what a variant of an enum holds.
    Key(String),
    /// To the first item of a list.
    First,
}

/// What a type asks for at a place.
#[derive(Debug)]
pub(super) enum Asked {
    /// A struct of fields with these names, aliases among them.
    Struct(&'static [&'static str]),
    Map,
    Seq,
    Enum,
    /// What the struct makes of a name. It is the same for the same field.
    Name(String),
}

/// The deserializer at one place.
pub(super) struct Probe<'a> {
    /// The steps that are left.
    path: &'a [Step],
    /// The name to ask about at the end of the path, instead of what is asked for.
    name: Option<&'a str>,
    asked: &'a RefCell<Option<Asked>>,
}

impl<'a> Probe<'a> {
    /// What `T` asks for at the end of `path`, or what it makes of `name` there; none if it does not get there.
    pub(super) fn ask<T: DeserializeOwned>(path: &'a [Step], name: Option<&'a str>) -> Option<Asked> {
        let asked = RefCell::new(None);
        // It ends with an error, since there are no values. The author's code may take that for impossible.
        let _ =
            catch_unwind(AssertUnwindSafe(|| T::deserialize(Probe { path, name, asked: &asked }).is_ok()));
        asked.into_inner()
    }

    fn note(&self, asked: Asked) -> End {
        *self.asked.borrow_mut() = Some(asked);
        End
    }

    /// Goes on with the value of a key.
    fn map<'de, V: Visitor<'de>>(self, asked: Asked, visitor: V) -> Result<V::Value, End> {
        match (self.path, self.name) {
            ([Step::Key(key), path @ ..], _) => {
                visitor.visit_map(Entry { key, value: Some(Probe { path, ..self }), asked: None })
            }
            ([], Some(name)) => visitor.visit_map(Entry { key: name, value: None, asked: Some(self.asked) }),
            ([], None) => Err(self.note(asked)),
            _ => Err(End),
        }
    }

    fn seq<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, End> {
        match self.path {
            [Step::First, path @ ..] => visitor.visit_seq(First(Some(Probe { path, ..self }))),
            [] => Err(self.note(Asked::Seq)),
            _ => Err(End),
        }
    }
}

/// The end of a path.
#[derive(Debug)]
pub(super) struct End;

impl Display for End {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("there is no value")
    }
}

impl std::error::Error for End {}

impl de::Error for End {
    fn custom<T: Display>(_: T) -> Self {
        Self
    }
}

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = End;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, End> {
        Err(End)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, End> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, End> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, End> {
        self.map(Asked::Struct(fields), visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, End> {
        self.map(Asked::Map, visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, End> {
        self.seq(visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, End> {
        self.seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, End> {
        self.seq(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, End> {
        match self.path {
            [Step::Key(key), path @ ..] => visitor.visit_enum(Variant { key, value: Probe { path, ..self } }),
            [] => Err(self.note(Asked::Enum)),
            _ => Err(End),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct identifier
        ignored_any
    }
}

/// A map of one key.
struct Entry<'a> {
    key: &'a str,
    value: Option<Probe<'a>>,
    /// Where to note what is made of the key, if that is the question.
    asked: Option<&'a RefCell<Option<Asked>>>,
}

impl<'de> MapAccess<'de> for Entry<'_> {
    type Error = End;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, End> {
        let key: StrDeserializer<'_, End> = self.key.into_deserializer();
        let key = seed.deserialize(key)?;
        if let Some(asked) = self.asked {
            // A derived struct reads a name as one of the variants of an enum, one for each field.
            *asked.borrow_mut() = Some(Asked::Name(format!("{:?}", mem::discriminant(&key))));
            return Err(End);
        }
        Ok(Some(key))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, End> {
        seed.deserialize(self.value.take().ok_or(End)?)
    }
}

/// A list of one item.
struct First<'a>(Option<Probe<'a>>);

impl<'de> SeqAccess<'de> for First<'_> {
    type Error = End;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, End> {
        seed.deserialize(self.0.take().ok_or(End)?).map(Some)
    }
}

/// One variant of an enum.
struct Variant<'a> {
    key: &'a str,
    value: Probe<'a>,
}

impl<'de, 'a> EnumAccess<'de> for Variant<'a> {
    type Error = End;
    type Variant = Probe<'a>;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Probe<'a>), End> {
        let key: StrDeserializer<'_, End> = self.key.into_deserializer();
        Ok((seed.deserialize(key)?, self.value))
    }
}

impl<'de> VariantAccess<'de> for Probe<'_> {
    type Error = End;

    fn unit_variant(self) -> Result<(), End> {
        Err(End)
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, End> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, End> {
        self.seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, End> {
        self.map(Asked::Struct(fields), visitor)
    }
}
