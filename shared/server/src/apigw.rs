//! `server apigw`: one-time commands for BlueKing's API gateway.

use bk_plugin_apigw::api::Api;
use bk_plugin_apigw::client::{ApiError, Client, ClientError};
use bk_plugin_apigw::definition::{DefinitionError, Files, Registration};
use bk_plugin_apigw::plan::plan;
use bk_plugin_apigw::public_key::{self, NoKey};
use bk_plugin_apigw::settings::{Connection, SyncSettings};
use bk_plugin_apigw::sync::{SyncError, sync};
use bk_plugin_service::settings::{self, Reader, SettingErrors};

use crate::command_line::Apigw;

/// Why a command failed. Each message says what to change.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    #[error("settings are wrong: {0}")]
    Settings(#[from] SettingErrors),
    #[error(transparent)]
    Definition(#[from] DefinitionError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error(transparent)]
    Sync(#[from] SyncError),
    #[error(transparent)]
    Key(#[from] NoKey),
    #[error("cannot start the runtime: {0}")]
    Runtime(std::io::Error),
}

/// Runs a command; returns the text for standard output.
pub(crate) fn run(
    command: Apigw,
    variables: &dyn Fn(&str) -> Option<String>,
) -> Result<String, CommandError> {
    let mut reader = Reader::new(variables);
    let log = settings::log(&mut reader);
    crate::log::to_stderr(log);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CommandError::Runtime)?;
    match command {
        Apigw::Sync { dry_run, definition, resources } => {
            let settings = SyncSettings::read(&mut reader);
            let settings = complete(reader, settings)?;
            let files = Files::read(definition.as_deref(), resources.as_deref())?;
            let registration = Registration::new(&settings, &files)?;
            let api = Api::new(Client::new(&settings.connection)?);
            runtime.block_on(async {
                if dry_run {
                    Ok(plan(&api, registration).await?.to_string())
                } else {
                    Ok(sync(&api, &registration).await?.to_string())
                }
            })
        }
        Apigw::PublicKey => {
            let connection = Connection::required(&mut reader);
            let api = Api::new(Client::new(&complete(reader, connection)?)?);
            let key = runtime.block_on(api.public_key())?;
            public_key::fingerprint(&key)?;
            Ok(key.trim_end().to_owned())
        }
    }
}

/// The settings that were read. If they are `None`, the reader has noted why.
fn complete<T>(reader: Reader<'_>, read: Option<T>) -> Result<T, SettingErrors> {
    reader.finish(read)?.ok_or_else(|| SettingErrors(Vec::new()))
}
