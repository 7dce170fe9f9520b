//! Secret settings: one secret of AWS Secrets Manager whose value is a JSON object of variables, such as
//! `{"BKPAAS_APP_SECRET": "..."}`. It is read once, when a function starts.

use std::collections::HashMap;
use std::fmt;

use bk_plugin_core::store_error::StoreError;

use crate::Clients;
use crate::unavailable::unavailable;

/// Variables that are secret.
#[derive(Default)]
pub struct SecretVariables(HashMap<String, String>);

impl fmt::Debug for SecretVariables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The secret cannot be read. The error never repeats its value.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Secrets Manager did not return it.
    #[error("BK_PLUGIN_SECRET_NAME: the secret {name} cannot be read: {source}")]
    Unavailable {
        /// The secret's name.
        name: String,
        /// What is wrong.
        source: StoreError,
    },
    /// Its value is not a JSON object of texts.
    #[error(
        "BK_PLUGIN_SECRET_NAME: the value of the secret {0} is not a JSON object with a text for each variable, \
         such as {{\"BKPAAS_APP_SECRET\": \"...\"}}"
    )]
    Malformed(String),
}

impl SecretVariables {
    /// Reads the secret with this name or ARN.
    pub async fn read(clients: &Clients, name: &str) -> Result<Self, SecretError> {
        let answer = clients.secrets_manager().get_secret_value().secret_id(name).send().await;
        let answer = answer.map_err(|error| SecretError::Unavailable {
            name: name.to_owned(),
            source: unavailable(&error),
        })?;
        Self::parse(answer.secret_string().unwrap_or_default())
            .ok_or_else(|| SecretError::Malformed(name.to_owned()))
    }

    fn parse(value: &str) -> Option<Self> {
        serde_json::from_str(value).ok().map(Self)
    }

    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_an_object_of_texts_and_does_not_print() {
        let secret = SecretVariables::parse(r#"{"BKPAAS_APP_SECRET": "hunter2"}"#).unwrap();
        assert_eq!(secret.get("BKPAAS_APP_SECRET").as_deref(), Some("hunter2"));
        assert_eq!(format!("{secret:?}"), r#"{"BKPAAS_APP_SECRET"}"#);
        for value in ["hunter2", "{\"a\": 1}", "[]", ""] {
            assert!(SecretVariables::parse(value).is_none());
        }
    }
}
