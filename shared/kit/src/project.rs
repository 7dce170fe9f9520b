//! A plugin project: its versions, forms and own routes, checked and put in order.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use semver::Version as Semver;

use crate::plugin::Plugin;
use crate::registry::{AllowedScope, AuthorRoutes, Registry};
use crate::validation::ModelError;
use crate::version::{Typed, Version};

/// What an author hands to the server or to the Lambda functions.
///
/// ```
/// # use crate::prelude::*;
/// # struct Echo;
/// # impl Plugin for Echo {
/// #     const META: Meta = Meta::version("1.0.0");
/// #     type Inputs = Empty;
/// #     type ContextInputs = Empty;
/// #     type Storage = ();
/// #     type Outputs = Empty;
/// #     async fn execute(&self, _: Empty, _: &mut Context<Self>) -> Result<Next> { Ok(Next::done()) }
/// # }
/// let registry = Project::new("answers what it is told")
///     .version(Echo)
///     .forms([("1.0.0", "(function () { $.atoms['echo'] = [] })();")])
///     .build()?;
/// assert_eq!(registry.versions(), ["1.0.0"]);
/// # Ok::<(), crate::project::ProjectErrors>(())
/// ```
pub struct Project {
    description: String,
    allow_scope: BTreeMap<String, AllowedScope>,
    versions: Vec<Result<Arc<dyn Version>, ProjectError>>,
    forms: BTreeMap<String, String>,
    routes: AuthorRoutes,
}

/// One thing wrong with a project.
#[derive(Debug, thiserror::Error)]
pub enum ProjectError {
    /// The version number is no semantic version.
    #[error("{plugin}: version {version:?} is not a semantic version: {source}")]
    Version {
        /// Type of the plugin.
        plugin: &'static str,
        /// What it says.
        version: &'static str,
        /// What is wrong.
        source: semver::Error,
    },
    /// Two versions have the same number.
    #[error("version {version} is both {first} and {second}")]
    Duplicate {
        /// The number.
        version: String,
        /// Type of the one.
        first: &'static str,
        /// Type of the other.
        second: &'static str,
    },
    /// A model cannot be shown as a schema.
    #[error("{plugin}: {source}")]
    Model {
        /// Type of the plugin.
        plugin: &'static str,
        /// What is wrong.
        source: ModelError,
    },
    /// There is nothing to serve.
    #[error("the project has no version")]
    Empty,
}

/// Everything wrong with a project.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct ProjectErrors(pub Vec<ProjectError>);

impl Project {
    /// A project with a description for its users and nothing in it.
    pub fn new(description: impl Into<String>) -> Self {
        Self {
            description: description.into(),
            allow_scope: BTreeMap::new(),
            versions: Vec::new(),
            forms: BTreeMap::new(),
            routes: AuthorRoutes::default(),
        }
    }

    /// Adds a version, built with whatever clients it needs. It is built once a process.
    #[must_use]
    pub fn version<P: Plugin>(mut self, plugin: P) -> Self {
        let plugin = Typed::new(plugin)
            .map(|typed| Arc::new(typed) as Arc<dyn Version>)
            .map_err(|source| ProjectError::Model { plugin: std::any::type_name::<P>(), source });
        self.versions.push(plugin);
        self
    }

    /// Adds forms: version and text of its `form.js`.
    #[must_use]
    pub fn forms<V: Into<String>, T: Into<String>>(
        mut self,
        forms: impl IntoIterator<Item = (V, T)>,
    ) -> Self {
        self.forms.extend(forms.into_iter().map(|(version, text)| (version.into(), text.into())));
        self
    }

    /// Lets an app call only from these scopes. Apps that are not named may call from anywhere.
    #[must_use]
    pub fn allow_scope<V: Into<String>>(
        mut self,
        app_code: impl Into<String>,
        kind: impl Into<String>,
        value: impl IntoIterator<Item = V>,
    ) -> Self {
        let scope = AllowedScope { kind: kind.into(), value: value.into_iter().map(Into::into).collect() };
        self.allow_scope.insert(app_code.into(), scope);
        self
    }

    /// The routes under `/bk_plugin/plugin_api/`, for example the data that forms show.
    #[must_use]
    pub fn plugin_api(mut self, routes: Router) -> Self {
        self.routes.plugin_api = routes;
        self
    }

    /// The routes under `/bk_plugin/openapi/`.
    #[must_use]
    pub fn openapi(mut self, routes: Router) -> Self {
        self.routes.openapi = routes;
        self
    }

    /// The routes under `/bk_plugin/private/`.
    #[must_use]
    pub fn private(mut self, routes: Router) -> Self {
        self.routes.private = routes;
        self
    }

    /// Checks everything and says all that is wrong at once.
    pub fn build(self) -> Result<Registry, ProjectErrors> {
        let mut errors = Vec::new();
        let mut versions: BTreeMap<Semver, Arc<dyn Version>> = BTreeMap::new();
        for version in self.versions {
            if let Err(error) = version.and_then(|version| insert(&mut versions, version)) {
                errors.push(error);
            }
        }
        if versions.is_empty() && errors.is_empty() {
            errors.push(ProjectError::Empty);
        }
        if !errors.is_empty() {
            return Err(ProjectErrors(errors));
        }
        let newest_first: Vec<Arc<dyn Version>> = versions.into_values().rev().collect();
        Ok(Registry {
            description: self.description,
            allow_scope: self.allow_scope,
            order: newest_first.iter().map(|version| version.meta().version.to_owned()).collect(),
            versions: newest_first
                .into_iter()
                .map(|version| (version.meta().version.to_owned(), version))
                .collect(),
            forms: self.forms,
            routes: self.routes,
        })
    }
}

fn insert(
    versions: &mut BTreeMap<Semver, Arc<dyn Version>>,
    version: Arc<dyn Version>,
) -> Result<(), ProjectError> {
    let number = version.meta().version;
    let semver = Semver::parse(number).map_err(|source| ProjectError::Version {
        plugin: version.type_name(),
        version: number,
        source,
    })?;
    if let Some(first) = versions.get(&semver) {
        return Err(ProjectError::Duplicate {
            version: number.to_owned(),
            first: first.type_name(),
            second: version.type_name(),
        });
    }
    versions.insert(semver, version);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::prelude::*;

    macro_rules! plugin {
        ($name:ident, $version:literal, $inputs:ty) => {
            struct $name;
            impl Plugin for $name {
                const META: Meta = Meta::version($version);
                type Inputs = $inputs;
                type ContextInputs = Empty;
                type Storage = ();
                type Outputs = Empty;
                async fn execute(&self, _: Self::Inputs, _: &mut Context<Self>) -> Result<Next> {
                    Ok(Next::done())
                }
            }
        };
    }

    #[derive(Deserialize, JsonSchema)]
    struct OneField {
        #[allow(dead_code, reason = "the field is there to be in the schema")]
        hello: String,
    }

    plugin!(Nine, "1.9.0", Empty);
    plugin!(Ten, "1.10.0", OneField);
    plugin!(TenAgain, "1.10.0", Empty);
    plugin!(Odd, "1.0", Empty);

    #[test]
    fn versions_are_ordered_as_semver() {
        let registry = Project::new("").version(Nine).version(Ten).build().unwrap();
        assert_eq!(registry.versions(), ["1.10.0", "1.9.0"]);
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        let project = Project::new("").version(Ten).version(TenAgain).version(Odd);
        let said = project.build().map(|_| ()).unwrap_err().to_string();
        for word in ["project::tests::Ten ", "project::tests::TenAgain", "\"1.0\"", "Odd"] {
            assert!(said.contains(word), "{word} in {said}");
        }
    }

    #[test]
    fn odd_forms_are_warned_of() {
        let project = Project::new("").version(Nine).version(Ten).forms([("3.0.0", "")]);
        assert_eq!(
            project.build().unwrap().warnings(),
            [
                "forms/3.0.0/form.js belongs to no version",
                "version 1.10.0 has inputs and no forms/1.10.0/form.js"
            ]
        );
    }
}
