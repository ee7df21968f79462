use std::collections::BTreeMap;

use super::{Hint, Json, Kind, Source};

/// A value from outside, before anyone knows what type is wanted.
#[derive(Clone, Debug, PartialEq)]
pub enum Given {
    /// JSON where it is JSON, else the text itself.
    Text(String),
    Json(Json),
}

impl Given {
    /// Reads the value for a parameter of type `kind`: where text is wanted, text stays as it is
    /// (`1` is `"1"`), unless it is a JSON string.
    pub fn read(&self, kind: Kind) -> Json {
        match self {
            Self::Json(json) => json.clone(),
            Self::Text(text) => {
                let json = Json::parse(text).filter(|json| !kind.is_text() || json.is_str());
                json.unwrap_or_else(|| Json::from(text.as_str()))
            }
        }
    }

    /// Reads the value for an argument with a type hint; `null` is null where the hint allows it.
    pub fn read_for(&self, hint: Hint) -> Json {
        match self {
            Self::Text(text) if hint.optional && text.trim() == "null" => Json::null(),
            Self::Text(_) | Self::Json(_) => self.read(hint.kind),
        }
    }
}

/// Everything that was given from outside, by name; the first offer of a name stands.
#[derive(Clone, Debug, Default)]
pub struct Givens {
    by_name: BTreeMap<String, (Given, Source)>,
}

impl Givens {
    /// Offers a value; offers come in the order of precedence.
    pub fn offer(&mut self, name: &str, given: Given, source: Source) {
        self.by_name.entry(name.to_owned()).or_insert((given, source));
    }

    /// What stands for that very name.
    pub fn get(&self, name: &str) -> Option<(&Given, Source)> {
        self.by_name.get(name).map(|(given, source)| (given, *source))
    }

    /// Every name with what stands for it.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Given, Source)> {
        self.by_name.iter().map(|(name, (given, source))| (name.as_str(), given, *source))
    }

    /// What was given for parts of `name`: for `model.depth` the part is `depth`.
    pub fn below<'a>(
        &'a self,
        name: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a Given, Source)> {
        let parts = self.by_name.range(format!("{name}.")..);
        parts.map_while(move |(key, (given, source))| {
            let part = key.strip_prefix(name)?.strip_prefix('.')?;
            Some((part, given, *source))
        })
    }
}
