//! A checked project, as the engine and the routes use it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use axum::Router;
use serde_json::Value;

use crate::version::Version;

/// A checked project.
pub struct Registry {
    pub(crate) description: String,
    pub(crate) allow_scope: BTreeMap<String, AllowedScope>,
    /// Newest first.
    pub(crate) order: Vec<String>,
    pub(crate) versions: HashMap<String, Arc<dyn Version>>,
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

    /// What works and is probably not meant, to be said at start-up. `app_code` is the plugin's code, to which forms
    /// are assigned.
    pub fn warnings(&self, app_code: &str) -> Vec<String> {
        self.order.iter().filter_map(|number| warning(number, &*self.versions[number], app_code)).collect()
    }

    /// The text of a version's form, if it has one.
    pub fn form(&self, version: &str) -> Option<&'static str> {
        self.versions.get(version)?.meta().form
    }

    /// The version with this number.
    #[doc(hidden)]
    pub fn version(&self, number: &str) -> Option<&Arc<dyn Version>> {
        self.versions.get(number)
    }
}

fn warning(number: &str, version: &dyn Version, app_code: &str) -> Option<String> {
    if let Some(reason) = version.defect() {
        return Some(format!("version {number} cannot be made, its invocations will FAIL: {reason}"));
    }
    let fields = version.models().inputs.schema().get("properties").and_then(Value::as_object);
    match version.meta().form {
        Some(form) if !may_assign(form, app_code) => Some(format!(
            "version {number}: its form does not assign $.atoms[\"{app_code}\"], so bk-sops shows nothing"
        )),
        None if fields.is_some_and(|fields| !fields.is_empty() && !fields.values().any(has_component)) => {
            Some(format!("version {number} has inputs and no form: add .form(include_str!(...)) to its META"))
        }
        _ => None,
    }
}

/// Whether a caller can make the form of a field from its schema.
fn has_component(field: &Value) -> bool {
    field.get("ui:component").is_some()
}

/// Whether a form may assign `$.atoms[app_code]`: only a form without any `$.atoms`, or one that assigns to literal
/// names of which none is the code, does not for certain.
fn may_assign(form: &str, app_code: &str) -> bool {
    form.split("$.atoms").skip(1).any(|rest| {
        let rest = rest.trim_start();
        let bracket = rest.strip_prefix('[').map(str::trim_start);
        match bracket.and_then(|inner| Some((inner.chars().next()?, inner.get(1..)?))) {
            Some((quote @ ('"' | '\'' | '`'), inner)) => inner.split(quote).next() == Some(app_code),
            Some(_) => true,
            None => rest.strip_prefix('.').is_some_and(|name| name.starts_with(app_code)),
        }
    })
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
