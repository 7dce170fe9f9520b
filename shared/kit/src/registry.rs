//! A checked project, as the engine and the routes use it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use axum::Router;

use crate::version::Version;

/// A checked project.
pub struct Registry {
    pub(crate) description: String,
    pub(crate) allow_scope: BTreeMap<String, AllowedScope>,
    /// Newest first.
    pub(crate) order: Vec<String>,
    pub(crate) versions: HashMap<String, Arc<dyn Version>>,
    pub(crate) forms: BTreeMap<String, String>,
    pub(crate) routes: AuthorRoutes,
}

impl Registry {
    /// The project's description.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Which apps are limited to which scopes.
    pub fn allow_scope(&self) -> &BTreeMap<String, AllowedScope> {
        &self.allow_scope
    }

    /// The numbers of all versions, newest first. (The reference sorts them as text: 1.9.0 before 1.10.0.)
    pub fn versions(&self) -> &[String] {
        &self.order
    }

    /// The author's own routes.
    pub fn routes(&self) -> &AuthorRoutes {
        &self.routes
    }

    /// What works but is probably not meant: to be said at start-up.
    pub fn warnings(&self) -> Vec<String> {
        let orphans = self
            .forms
            .keys()
            .filter(|version| !self.versions.contains_key(*version))
            .map(|version| format!("forms/{version}/form.js belongs to no version"));
        let formless = self
            .order
            .iter()
            .filter(|version| !self.forms.contains_key(*version) && self.has_inputs(version))
            .map(|version| format!("version {version} has inputs and no forms/{version}/form.js"));
        orphans.chain(formless).collect()
    }

    fn has_inputs(&self, version: &str) -> bool {
        let properties = self.versions[version].models().inputs.schema().get("properties");
        properties.and_then(|value| value.as_object()).is_some_and(|fields| !fields.is_empty())
    }

    /// The text of a version's form, if it has one.
    pub fn form(&self, version: &str) -> Option<&str> {
        self.forms.get(version).map(String::as_str)
    }

    /// The version with this number.
    #[doc(hidden)]
    pub fn version(&self, number: &str) -> Option<&Arc<dyn Version>> {
        self.versions.get(number)
    }
}

/// The author's own HTTP routes.
#[derive(Clone, Default)]
pub struct AuthorRoutes {
    /// Under `/bk_plugin/plugin_api/`; also reached through `plugin_api_dispatch`.
    pub plugin_api: Router,
    /// Under `/bk_plugin/openapi/`.
    pub openapi: Router,
    /// Under `/bk_plugin/private/`.
    pub private: Router,
}

/// Which scopes of an app may call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedScope {
    /// Kind of scope, for example `project`.
    pub kind: String,
    /// The scopes that may call.
    pub value: Vec<String>,
}

impl AllowedScope {
    /// Whether a call from this scope is let in.
    pub fn allows(&self, kind: &str, value: &str) -> bool {
        self.kind == kind && self.value.iter().any(|allowed| allowed == value)
    }
}
