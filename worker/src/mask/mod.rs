//! Secrets become `***`: in streams wherever they are cut, in texts and in JSON, also where they
//! are written as base64, as part of a URL, or as JSON.
use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde_json::Value;

mod forms;
mod stream;
mod tree;

#[cfg(test)]
mod tests;

pub(crate) use stream::Masker;
pub(crate) use tree::TreeError;

/// What stands in place of a secret.
pub(crate) const MASK: &[u8] = b"***";

/// Deepest nesting of JSON that is looked into; deeper values are masked as a whole.
const MAX_DEPTH: usize = 128;

/// The secrets of a run, ready to be looked for.
pub(crate) struct Masks {
    exact: tree::Tree,
    folded: tree::Tree,
    secrets: Vec<Vec<u8>>,
}

impl std::fmt::Debug for Masks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Masks({})", self.secrets.len())
    }
}

/// The last masks that are still in use: the steps of a run have the same ones.
static LAST: Mutex<Weak<Masks>> = Mutex::new(Weak::new());

impl Masks {
    /// `None` where there is nothing to mask.
    pub(crate) fn of<T: AsRef<[u8]>>(secrets: &[T]) -> Result<Option<Arc<Self>>, TreeError> {
        let texts = || secrets.iter().map(AsRef::as_ref).filter(|text| !text.is_empty());
        if texts().next().is_none() {
            return Ok(None);
        }
        let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(same) = last.upgrade().filter(|masks| masks.secrets.iter().eq(texts())) {
            return Ok(Some(same));
        }
        let mut forms = forms::Forms::default();
        texts().for_each(|secret| forms.add(secret));
        let masks = Arc::new(Self {
            exact: tree::Tree::new(&forms.exact)?,
            folded: tree::Tree::new(&forms.folded)?,
            secrets: texts().map(<[u8]>::to_vec).collect(),
        });
        *last = Arc::downgrade(&masks);
        Ok(Some(masks))
    }

    /// The same bytes, masked.
    pub(crate) fn bytes(self: &Arc<Self>, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len());
        let mut masker = Masker::new(Arc::clone(self));
        masker.push(bytes, &mut out);
        masker.finish(&mut out);
        out
    }

    /// The same text, masked.
    pub(crate) fn text(self: &Arc<Self>, text: &str) -> String {
        String::from_utf8_lossy(&self.bytes(text.as_bytes())).into_owned()
    }

    /// A JSON text, masked, that is still JSON.
    pub(crate) fn json(self: &Arc<Self>, json: &str) -> String {
        let masked = self.text(json);
        if masked == json || serde_json::from_str::<serde::de::IgnoredAny>(&masked).is_ok() {
            return masked;
        }
        let mut value = serde_json::from_str(json).unwrap_or_else(|_| Value::from(masked));
        self.mask_value(&mut value, 0);
        value.to_string()
    }

    fn mask_value(self: &Arc<Self>, value: &mut Value, depth: usize) {
        match value {
            _ if depth > MAX_DEPTH => *value = Value::from("***"),
            Value::String(text) => *text = self.text(text),
            Value::Array(items) => {
                items.iter_mut().for_each(|item| self.mask_value(item, depth + 1));
            }
            Value::Object(fields) => {
                let masked = std::mem::take(fields).into_iter().map(|(name, mut field)| {
                    self.mask_value(&mut field, depth + 1);
                    (self.text(&name), field)
                });
                *fields = masked.collect();
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {
                let text = value.to_string();
                if self.text(&text) != text {
                    *value = Value::from("***");
                }
            }
        }
    }
}
