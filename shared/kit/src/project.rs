//! A plugin project: its versions and own routes, checked and put in order.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;

use axum::Router;

use crate::plugin::Plugin;
use crate::registry::{AllowedScope, AuthorRoutes, Registry};
use crate::validation::ModelError;
use crate::version::{Typed, Version};
use crate::version_number::{InvalidVersionNumber, VersionNumber};

/// What an author hands to the server or to the Lambda functions: versions, and routes of the author's own.
///
/// ```
/// # use bk_plugin_kit::prelude::*;
/// # struct Echo;
/// # impl Plugin for Echo {
/// #     const META: Meta = Meta::version("1.0.0");
/// #     type Inputs = Empty;
/// #     type Context = Context;
/// #     async fn execute(&self, _: Empty, _: &mut Self::Context) -> Result<Next> { Ok(Next::done()) }
/// # }
/// pub fn project() -> Project {
///     Project::new("answers what it is told").version(Echo)
/// }
/// # assert_eq!(project().build()?.versions(), ["1.0.0"]);
/// # Ok::<(), bk_plugin_kit::ProjectErrors>(())
/// ```
pub struct Project {
    description: String,
    allow_scope: BTreeMap<String, AllowedScope>,
    versions: Vec<Result<Arc<dyn Version>, ProjectError>>,
    routes: AuthorRoutes,
}

/// One thing wrong with a project.
#[derive(Debug, thiserror::Error)]
pub enum ProjectError {
    /// The version number is not valid.
    #[error("{plugin}: {version:?} is {source}")]
    Version {
        /// Type of the plugin.
        plugin: &'static str,
        /// What it says.
        version: &'static str,
        /// What is wrong.
        source: InvalidVersionNumber,
    },
    /// Two versions have the same number, maybe in two spellings (`1.0.1` and `1.0.01`).
    #[error("version {} is both {} ({:?}) and {} ({:?})", .0.number, .0.first.0, .0.first.1, .0.second.0, .0.second.1)]
    Duplicate(Box<Duplicate>),
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

/// Two versions with the same number.
#[derive(Debug)]
pub struct Duplicate {
    /// The number.
    pub number: String,
    /// Type of the one, and its number as it is written.
    pub first: (&'static str, &'static str),
    /// Type of the other, and its number as it is written.
    pub second: (&'static str, &'static str),
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
            routes: AuthorRoutes::default(),
        }
    }

    /// Adds a version, made with whatever clients it needs. It is made once a process.
    #[must_use]
    pub fn version<P: Plugin>(self, plugin: P) -> Self {
        self.add(Ok(plugin))
    }

    /// Adds a version that may fail to be made, because a setting is missing, say. A version that could not be made is
    /// served all the same: start-up warns of it, `meta` and `detail` show it, and its invocations end in FAIL with the
    /// reason. The other versions do not notice.
    ///
    /// ```
    /// # use bk_plugin_kit::prelude::*;
    /// # struct Deploy { url: String }
    /// # impl Plugin for Deploy {
    /// #     const META: Meta = Meta::version("1.0.0");
    /// #     type Inputs = Empty;
    /// #     type Context = Context;
    /// #     async fn execute(&self, _: Empty, _: &mut Self::Context) -> Result<Next> { Ok(Next::done()) }
    /// # }
    /// impl Deploy {
    ///     fn from_env() -> Result<Self> {
    ///         let url = std::env::var("DEPLOY_URL").map_err(|_| Error::fail("DEPLOY_URL is not set"))?;
    ///         Ok(Self { url })
    ///     }
    /// }
    /// let registry = Project::new("deploys").try_version(Deploy::from_env()).build()?;
    /// assert_eq!(registry.versions(), ["1.0.0"]);
    /// # Ok::<(), bk_plugin_kit::ProjectErrors>(())
    /// ```
    #[must_use]
    pub fn try_version<P: Plugin, E: Display>(self, plugin: Result<P, E>) -> Self {
        self.add(plugin.map_err(|error| format!("{error:#}")))
    }

    fn add<P: Plugin>(mut self, plugin: Result<P, String>) -> Self {
        let plugin = Typed::new(plugin)
            .map(|typed| Arc::new(typed) as Arc<dyn Version>)
            .map_err(|source| ProjectError::Model { plugin: std::any::type_name::<P>(), source });
        self.versions.push(plugin);
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
        let mut versions: BTreeMap<VersionNumber, Arc<dyn Version>> = BTreeMap::new();
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
            routes: self.routes,
        })
    }
}

fn insert(
    versions: &mut BTreeMap<VersionNumber, Arc<dyn Version>>,
    version: Arc<dyn Version>,
) -> Result<(), ProjectError> {
    let written = version.meta().version;
    let number = VersionNumber::parse(written).map_err(|source| ProjectError::Version {
        plugin: version.type_name(),
        version: written,
        source,
    })?;
    if let Some(first) = versions.get(&number) {
        let named = |version: &dyn Version| (version.type_name(), version.meta().version);
        return Err(ProjectError::Duplicate(Box::new(Duplicate {
            number: number.to_string(),
            first: named(&**first),
            second: named(&*version),
        })));
    }
    versions.insert(number, version);
    Ok(())
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;
    use crate::prelude::*;
    use crate::runtime::{StepFacts, StepHost, StepInput, StepOutcome};
    use crate::{Timestamp, TraceId};

    macro_rules! plugin {
        ($name:ident, $meta:expr, $inputs:ty) => {
            struct $name;
            impl Plugin for $name {
                const META: Meta = $meta;
                type Inputs = $inputs;
                type Context = Context;
                async fn execute(&self, _: Self::Inputs, _: &mut Self::Context) -> Result<Next> {
                    Ok(Next::done())
                }
            }
        };
    }

    #[derive(Deserialize, JsonSchema)]
    #[allow(dead_code, reason = "the field is there to be in the schema")]
    struct OneField {
        hello: String,
    }

    #[derive(Deserialize, JsonSchema)]
    #[allow(dead_code, reason = "as above")]
    struct WithComponent {
        #[schemars(extend("ui:component" = {"name": "select"}))]
        hello: String,
    }

    plugin!(Nine, Meta::version("1.9.0"), Empty);
    plugin!(Ten, Meta::version("1.10.0"), OneField);
    plugin!(TenAgain, Meta::version("1.010.0"), Empty);
    plugin!(Assistant, Meta::version("1.10.0assistant"), Empty);
    plugin!(Tall, Meta::version("2.0.0").form("$.atoms['another'] = []"), OneField);
    plugin!(Own, Meta::version("2.1.0").form("$.atoms[\"demo\"] = [] // and $.atoms.other"), OneField);
    plugin!(Computed, Meta::version("2.2.0").form("$.atoms[window.code] = []"), OneField);
    plugin!(NoAtoms, Meta::version("2.3.0").form("alert(1)"), OneField);
    plugin!(Component, Meta::version("2.4.0"), WithComponent);

    #[test]
    fn versions_are_ordered_by_their_numbers() {
        let registry = Project::new("").version(Nine).version(Ten).version(Assistant).build().unwrap();
        assert_eq!(registry.versions(), ["1.10.0assistant", "1.10.0", "1.9.0"]);
    }

    #[test]
    fn a_number_in_two_spellings_is_one() {
        let said =
            Project::new("").version(Ten).version(TenAgain).build().map(|_| ()).unwrap_err().to_string();
        for word in ["version 1.10.0 is both", "project::tests::Ten (\"1.10.0\")", "TenAgain (\"1.010.0\")"] {
            assert!(said.contains(word), "{word} in {said}");
        }
        assert!(Project::new("").build().is_err_and(|errors| errors.to_string().contains("no version")));
    }

    #[test]
    fn a_version_that_cannot_be_made_is_there_and_warned_of() {
        let made: std::result::Result<Nine, _> = Err("DEPLOY_URL is not set");
        let registry = Project::new("").try_version(made).build().unwrap();
        assert_eq!(registry.versions(), ["1.9.0"]);
        let warnings = registry.warnings("demo");
        assert_eq!(
            warnings,
            ["version 1.9.0 cannot be made, its invocations will FAIL: DEPLOY_URL is not set"]
        );
    }

    struct NoHost;

    impl StepHost for NoHost {
        fn callback_url(&self, _: &TraceId, _: &CallbackId) -> String {
            String::new()
        }

        fn now(&self) -> Timestamp {
            Timestamp::from_millis(0)
        }
    }

    #[test]
    fn a_step_of_a_version_that_cannot_be_made_fails_with_the_reason() {
        let made: std::result::Result<Nine, _> = Err("DEPLOY_URL is not set");
        let registry = Project::new("").try_version(made).build().unwrap();
        let facts = StepFacts {
            trace_id: TraceId::random(),
            invoke_count: 1,
            event: Event::Invoked,
            caller: Caller::default(),
            started_at: Timestamp::from_millis(0),
            host: Arc::new(NoHost),
            prepared: 0,
        };
        let (inputs, context) = (JsonObject::new(), JsonObject::new());
        let input = StepInput { facts, inputs, context, storage: Value::Null, outputs: Value::Null };
        let outcome = registry.version("1.9.0").unwrap().step(input).now_or_never().unwrap();
        let StepOutcome::Unexpected(failure) = outcome else { panic!("{outcome:?}") };
        assert_eq!(failure.message, "DEPLOY_URL is not set");
    }

    #[test]
    fn forms_that_would_show_nothing_are_warned_of() {
        let project = Project::new("").version(Nine).version(Ten).version(Tall).version(Own);
        let registry = project.version(Computed).version(NoAtoms).version(Component).build().unwrap();
        assert_eq!(
            registry.warnings("demo"),
            [
                "version 2.3.0: its form does not assign $.atoms[\"demo\"], so bk-sops shows nothing",
                "version 2.0.0: its form does not assign $.atoms[\"demo\"], so bk-sops shows nothing",
                "version 1.10.0 has inputs and no form: add .form(include_str!(...)) to its META",
            ]
        );
    }
}
