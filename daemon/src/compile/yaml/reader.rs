use std::collections::HashSet;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, VariantAccess, Visitor, value::StrDeserializer,
};

use windlass_core::nearest;

use super::{Entry, Fault, Node, Place, Tree, fault::What};

/// Entries and items to leave out, by their places.
pub(in crate::compile) type Skips = HashSet<Place>;

/// Reads serde types from a tree; every fault says its place.
#[derive(Clone, Copy)]
pub(in crate::compile) struct Reader<'t> {
    pub(in crate::compile) tree: &'t Tree,
    pub(in crate::compile) skips: &'t Skips,
}

impl<'t> Reader<'t> {
    fn items(self, items: &'t [Tree]) -> Items<'t> {
        Items { rest: items.iter(), skips: self.skips }
    }

    fn pairs(self, entries: &'t [Entry]) -> Pairs<'t> {
        Pairs { rest: entries.iter(), current: None, skips: self.skips }
    }

    fn visit<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let value = match &self.tree.node {
            Node::Null => visitor.visit_unit(),
            Node::Bool(value) => visitor.visit_bool(*value),
            Node::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(value), _, _) => visitor.visit_u64(value),
                (None, Some(value), _) => visitor.visit_i64(value),
                (None, None, value) => visitor.visit_f64(value.unwrap_or(f64::NAN)),
            },
            Node::Str(text) => visitor.visit_str(text),
            Node::List(items) => visitor.visit_seq(self.items(items)),
            Node::Map(entries) => visitor.visit_map(self.pairs(entries)),
        };
        value.map_err(|fault| self.hide_what_was_skipped(fault).at(self.tree.place))
    }

    /// A key that is missing because it, or its misspelling, was left out is no new mistake.
    fn hide_what_was_skipped(self, mut fault: Fault) -> Fault {
        let left_out = |key: &str| {
            let skipped = self.tree.entries().iter().filter(|e| self.skips.contains(&e.place));
            nearest(key, skipped.map(|entry| entry.key.as_str())).is_some()
        };
        if let What::MissingKey(key) = fault.what
            && fault.place.is_none()
            && left_out(key)
        {
            fault.what = What::Wrong(String::new());
        }
        fault
    }
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.visit(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.tree.node {
            Node::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let word = match &self.tree.node {
            Node::Str(word) => Ok(word.as_str()),
            Node::Null | Node::Bool(_) | Node::Number(_) => {
                Err(Fault::custom(format_args!("expected a word, got {}", self.tree.to_json())))
            }
            Node::List(_) => Err(Fault::invalid_type(Unexpected::Seq, &"a word")),
            Node::Map(_) => Err(Fault::invalid_type(Unexpected::Map, &"a word")),
        };
        let place = self.tree.place;
        word.and_then(|word| visitor.visit_enum(Word(word))).map_err(|fault| fault.at(place))
    }

    /// Only mappings: serde would take a list's items for the fields in their order.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match self.tree.node {
            Node::List(_) => {
                Err(Fault::invalid_type(Unexpected::Seq, &"a mapping").at(self.tree.place))
            }
            _ => self.visit(visitor),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

struct Items<'t> {
    rest: std::slice::Iter<'t, Tree>,
    skips: &'t Skips,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Fault> {
        let Some(tree) = self.rest.find(|tree| !self.skips.contains(&tree.place)) else {
            return Ok(None);
        };
        let value = seed.deserialize(Reader { tree, skips: self.skips });
        value.map(Some).map_err(|fault| fault.inside(tree.place))
    }
}

struct Pairs<'t> {
    rest: std::slice::Iter<'t, Entry>,
    current: Option<&'t Entry>,
    skips: &'t Skips,
}

impl<'de> MapAccess<'de> for Pairs<'_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fault> {
        self.current = self.rest.find(|entry| !self.skips.contains(&entry.place));
        let Some(entry) = self.current else { return Ok(None) };
        let key: StrDeserializer<'_, Fault> = entry.key.as_str().into_deserializer();
        let place = entry.place;
        seed.deserialize(key).map(Some).map_err(|fault| fault.at(place).inside(place))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let entry = self.current.ok_or_else(|| Fault::custom("a value without its key"))?;
        let value = seed.deserialize(Reader { tree: &entry.value, skips: self.skips });
        value.map_err(|fault| fault.at(entry.value.place).inside(entry.place))
    }
}

/// One word of a closed list.
struct Word<'a>(&'a str);

impl<'de> EnumAccess<'de> for Word<'_> {
    type Error = Fault;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Fault> {
        let word: StrDeserializer<'_, Fault> = self.0.into_deserializer();
        seed.deserialize(word).map(|value| (value, self))
    }
}

impl<'de> VariantAccess<'de> for Word<'_> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _seed: T) -> Result<T::Value, Fault> {
        Err(Fault::custom("expected a word alone"))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, _visitor: V) -> Result<V::Value, Fault> {
        Err(Fault::custom("expected a word alone"))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, Fault> {
        Err(Fault::custom("expected a word alone"))
    }
}
