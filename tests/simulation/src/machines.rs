//! The processes of a world. Each has the real engine over its own ports. They are made once a thread,
//! because they hold no state of an invocation.

use std::sync::Arc;
use std::time::Duration;

use bk_plugin_engine::callback_token::CallbackKeys;
use bk_plugin_engine::{Engine, EngineParts};
use bk_plugin_kit::Project;
use bk_plugin_service::protocol::{
    Admission, Endpoint, ProtocolSettings, Service, callback_routes, endpoint, invoke_routes,
    schedule_routes, time_zone,
};

use crate::plugin::{Other, Scripted};
use crate::ports::Ports;
use crate::world::{CALLERS, FIRST_CALLER, INVOKER, READER, RUNNERS, Shared, limits};

pub(crate) struct Machines {
    /// The engines of each runner: one with the scripted version, one without it.
    pub(crate) runners: Vec<[Arc<Engine>; 2]>,
    pub(crate) invoke: Endpoint,
    pub(crate) schedule: Endpoint,
    pub(crate) callbacks: Vec<Endpoint>,
}

impl Machines {
    #[allow(clippy::expect_used, reason = "keys, zone and versions are constants that are right")]
    pub(crate) fn new(shared: &Shared) -> Self {
        let keys = CallbackKeys::new("secret of the simulation", &[], limits().keep_finished);
        let keys = Arc::new(keys.expect("no key of the operator's own is given"));
        let zone = time_zone(Some("UTC")).expect("there is UTC");
        let engine = |process: usize, deployed: bool| {
            let ports = Ports { shared: shared.clone(), process };
            let project = Project::new("").version(Other);
            let project = if deployed {
                project.version(Scripted { shared: shared.clone(), process })
            } else {
                project
            };
            Arc::new(Engine::new(EngineParts {
                registry: Arc::new(project.build().expect("two versions that differ")),
                table: Arc::new(ports.clone()),
                queue: Arc::new(ports.clone()),
                clock: Arc::new(ports.clone()),
                finish_callbacks: Arc::new(ports),
                keys: Arc::clone(&keys),
                callback_base: "http://plugin.test/bk_plugin".to_owned(),
                limits: limits(),
            }))
        };
        let service = |process| {
            let mut settings = ProtocolSettings::new("simulated", zone.clone());
            settings.admission = Admission::Development;
            settings.request_timeout = Duration::from_secs(90);
            Service::new(engine(process, true), settings)
        };
        let (invoke, schedule) = (service(INVOKER), service(READER));
        Self {
            runners: (0..RUNNERS).map(|runner| [engine(runner, true), engine(runner, false)]).collect(),
            invoke: endpoint(invoke.description(), invoke_routes(&invoke)),
            schedule: endpoint(schedule.description(), schedule_routes(&schedule)),
            callbacks: (FIRST_CALLER..FIRST_CALLER + CALLERS)
                .map(service)
                .map(|service| endpoint(service.description(), callback_routes(&service)))
                .collect(),
        }
    }
}
