//! One gateway: its registered data, and its checks of requests.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::PUBLIC_KEY;
use crate::answer::Answer;

#[derive(Debug, Default)]
pub(crate) struct Gateway {
    pub(crate) app_code: String,
    stages: BTreeSet<String>,
    resources: BTreeSet<String>,
    granted: BTreeSet<String>,
    pub(crate) versions: Vec<String>,
    pub(crate) released: BTreeMap<String, String>,
}

/// The value that was read, or the answer that refuses the request.
type Checked<T> = Result<T, Answer>;

impl Gateway {
    pub(crate) fn of(app_code: &str) -> Self {
        Self { app_code: app_code.to_owned(), ..Self::default() }
    }

    pub(crate) fn answer(&mut self, method: &str, path: &[&str], query: &str, body: &Value) -> Answer {
        let answered = match (method, path) {
            ("POST", ["stages"]) => self.sync_stage(body),
            ("POST", ["resources"]) => self.sync_resources(body),
            ("POST", ["permissions", "grant"]) => self.grant(body),
            ("GET", ["permissions"]) => Ok(self.list_granted()),
            ("GET", ["resource_versions", "latest"]) => {
                let latest = self.versions.last().map_or(json!({}), |version| json!({"version": version}));
                Ok(Answer::data(&latest))
            }
            ("GET", ["resource_versions"]) => Ok(self.list_versions(query)),
            ("POST", ["resource_versions"]) => self.create_version(body),
            ("POST", ["resource_versions", "release"]) => self.release(body),
            ("GET", ["public_key"]) => {
                Ok(Answer::data(&json!({"issuer": "APIGW", "public_key": PUBLIC_KEY})))
            }
            _ => Ok(Answer::error(404, "NOT_FOUND", "Not Found")),
        };
        answered.unwrap_or_else(|refused| refused)
    }

    pub(crate) fn stages_with_version(&self) -> Answer {
        let stages: Vec<Value> = self
            .stages
            .iter()
            .map(|name| {
                let version = self.released.get(name).map(|version| json!({"version": version}));
                json!({"name": name, "released": version.is_some(), "resource_version": version})
            })
            .collect();
        Answer { status: 200, body: json!({"code": 0, "message": "OK", "result": true, "data": stages}) }
    }

    fn sync_stage(&mut self, body: &Value) -> Checked<Answer> {
        let name = text(body, "name")?;
        if !body["vars"].as_object().is_some_and(|vars| vars.values().all(Value::is_string)) {
            return Err(Answer::invalid("vars"));
        }
        let config = &body["backends"][0]["config"];
        let host = text(&config["hosts"][0], "host")?;
        let (scheme, rest) = host.split_once("://").unwrap_or_default();
        let is_host = ["http", "https"].contains(&scheme) && !rest.is_empty() && !rest.contains('/');
        if !is_host || !config["timeout"].is_u64() || config["loadbalance"] != "roundrobin" {
            return Err(Answer::invalid("backends"));
        }
        let is_new = self.stages.insert(name.to_owned());
        Ok(Answer::data(&if is_new { Value::Null } else { json!({"id": 1, "name": name}) }))
    }

    fn sync_resources(&mut self, body: &Value) -> Checked<Answer> {
        let content: Value = serde_json::from_str(text(body, "content")?)
            .map_err(|_| Answer::invalid("content: 导入内容为无效的 json/yaml 数据"))?;
        let paths = content["paths"].as_object().ok_or_else(|| Answer::invalid("paths"))?;
        let mut names = BTreeSet::new();
        for (path, operations) in paths {
            for operation in operations.as_object().unwrap().values() {
                check_operation(path, operation)?;
                names.insert(text(operation, "operationId")?.to_owned());
            }
        }
        let ids = |count: usize| vec![json!({"id": 1}); count];
        let (added, deleted) =
            (names.difference(&self.resources).count(), self.resources.difference(&names).count());
        let data = json!({
            "added": ids(added),
            "updated": ids(names.len() - added),
            "deleted": ids(if body["delete"] == true { deleted } else { 0 }),
        });
        self.resources = names;
        Ok(Answer::data(&data))
    }

    fn grant(&mut self, body: &Value) -> Checked<Answer> {
        let app = text(body, "target_app_code")?;
        match text(body, "grant_dimension")? {
            "gateway" => self.granted.insert(app.to_owned()),
            "resource" => true,
            _ => return Err(Answer::invalid("grant_dimension")),
        };
        Ok(Answer::created())
    }

    fn list_granted(&self) -> Answer {
        let results: Vec<Value> = self
            .granted
            .iter()
            .map(|app| json!({"bk_app_code": app, "expires": null, "grant_dimension": "gateway"}))
            .collect();
        Answer::data(&json!({"count": results.len(), "results": results}))
    }

    fn list_versions(&self, query: &str) -> Answer {
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        let wanted = pairs.find(|(key, _)| key == "version").map(|(_, version)| version);
        let versions =
            self.versions.iter().filter(|version| wanted.as_ref().is_none_or(|one| one == *version));
        let results: Vec<Value> =
            versions.map(|version| json!({"version": version, "comment": ""})).collect();
        Answer::data(&json!({"count": results.len(), "results": results}))
    }

    fn create_version(&mut self, body: &Value) -> Checked<Answer> {
        let version = text(body, "version")?;
        if semver::Version::parse(version).is_err() || version.len() > 64 {
            return Err(Answer::invalid("version: 不符合 semver 规范"));
        }
        if self.resources.is_empty() {
            return Err(Answer::invalid("请先创建资源，然后再生成版本。"));
        }
        if self.versions.iter().any(|known| known == version) {
            return Err(Answer::invalid(&format!("版本 {version} 已存在。")));
        }
        self.versions.push(version.to_owned());
        Ok(Answer::created())
    }

    fn release(&mut self, body: &Value) -> Checked<Answer> {
        let version = text(body, "version")?;
        if !self.versions.iter().any(|known| known == version) {
            return Err(Answer::invalid(&format!("版本【{version}】不存在。")));
        }
        let stages = body["stage_names"].as_array().ok_or_else(|| Answer::invalid("stage_names"))?;
        for stage in stages.iter().filter_map(Value::as_str) {
            if !self.stages.contains(stage) {
                return Err(Answer::invalid("stage_names"));
            }
            self.released.insert(stage.to_owned(), version.to_owned());
        }
        Ok(Answer::data(&json!({"version": version, "stage_names": stages})))
    }
}

/// Answers the request that registers the gateway's own data; refuses incomplete data.
pub(crate) fn sync(body: &Value) -> Answer {
    let maintainers = body["maintainers"].as_array().is_some_and(|all| all.iter().all(Value::is_string));
    match (maintainers, &body["is_public"], &body["api_type"]) {
        (true, Value::Bool(_), api_type) if [json!(1), json!(10)].contains(api_type) => {
            Answer::data(&json!({"id": 1, "name": "gateway"}))
        }
        _ => Answer::invalid("maintainers, is_public, api_type"),
    }
}

fn text<'a>(body: &'a Value, field: &str) -> Checked<&'a str> {
    let text = body[field].as_str().filter(|text| !text.is_empty());
    text.ok_or_else(|| Answer::invalid(&format!("{field}: 该字段是必填项。")))
}

/// Checks an operation as the gateway's import does.
fn check_operation(path: &str, operation: &Value) -> Checked<()> {
    let resource = &operation["x-bk-apigateway-resource"];
    let backend = &resource["backend"];
    let declared = operation["parameters"].as_array().cloned().unwrap_or_default();
    for part in path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
        if !declared.iter().any(|parameter| parameter["name"] == part && parameter["in"] == "path") {
            return Err(Answer::invalid(&format!("Path parameter '{part}' was not resolved")));
        }
    }
    let complete = operation["responses"].is_object()
        && resource["authConfig"].is_object()
        && backend["path"].as_str().is_some_and(|path| path.starts_with('/') && !path.contains('$'))
        && backend["matchSubpath"] == resource["matchSubpath"];
    if complete { Ok(()) } else { Err(Answer::invalid(&format!("content: {path}"))) }
}
