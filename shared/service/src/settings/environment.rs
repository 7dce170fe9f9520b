//! Which of the platform's environments the plugin runs in.

use std::fmt;

use super::Reader;

/// BKPAAS_ENVIRONMENT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Environment {
    /// `dev`: a developer's machine.
    Development,
    /// `stag`.
    Staging,
    /// `prod`.
    Production,
}

impl Environment {
    /// Reads BKPAAS_ENVIRONMENT.
    pub fn read(reader: &mut Reader<'_>) -> Self {
        let all = [Self::Development, Self::Staging, Self::Production];
        reader.one_of(
            "BKPAAS_ENVIRONMENT",
            Self::Development,
            &all.map(|environment| (environment.name(), environment)),
        )
    }

    /// Whether this is `dev`.
    pub fn is_development(self) -> bool {
        self == Self::Development
    }

    /// The name that the platform uses.
    pub fn name(self) -> &'static str {
        match self {
            Self::Development => "dev",
            Self::Staging => "stag",
            Self::Production => "prod",
        }
    }

    /// The stage of the plugin's gateway: BK_APIGW_STAGE_NAME, or the stage with the environment's name.
    /// Development has no stage of its own and uses that of production.
    pub fn stage(self, reader: &Reader<'_>) -> String {
        let default = if self == Self::Staging { "stag" } else { "prod" };
        reader.text("BK_APIGW_STAGE_NAME").unwrap_or_else(|| default.to_owned())
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
