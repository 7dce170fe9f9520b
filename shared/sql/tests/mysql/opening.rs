//! Opening: migrations by many at once, migrations that were killed, and everything that can be wrong.

use std::time::Duration;

use bk_plugin_core::record::State;
use bk_plugin_core::table::Table;
use bk_plugin_sql::Store as _;
use bk_plugin_sql::mysql::{MysqlAddress, MysqlOptions, MysqlStore, OpenError, Tls};
use contract::sample::{applied, record};
use local_mysql::MariaDb;
use secrecy::SecretString;

fn impatient() -> MysqlOptions {
    MysqlOptions { patience: Duration::ZERO, ..MysqlOptions::default() }
}

async fn failure(address: &MysqlAddress) -> OpenError {
    let error = MysqlStore::open(address, impatient()).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&address.to_string()), "{text}");
    assert!(!text.contains("p@ss") && !text.contains("p%40ss"), "{text}");
    error
}

async fn works(server: &MariaDb) {
    let store = MysqlStore::open(&server.address(), impatient()).await.unwrap();
    let record = record(State::Poll);
    applied(store.create(&record, None).await.unwrap());
    assert_eq!(*store.read(&record.trace_id).await.unwrap().unwrap(), record);
    store.close().await;
}

#[tokio::test]
async fn ten_processes_may_start_at_once() {
    let server = MariaDb::start().await;
    let opening: Vec<_> = (0..10)
        .map(|_| {
            let address = server.address();
            tokio::spawn(async move { MysqlStore::open(&address, impatient()).await })
        })
        .collect();
    for store in opening {
        store.await.unwrap().unwrap();
    }
    let applied: i64 = sqlx::query_scalar("SELECT count(*) FROM bk_plugin_migrations WHERE success")
        .fetch_one(&mut server.connect().await)
        .await
        .unwrap();
    assert_eq!(applied, 3);
    works(&server).await;
}

/// A killed migration leaves what MySQL had committed by then: some of the tables, and a migration that did not
/// succeed.
#[tokio::test]
async fn a_migration_that_was_killed_is_run_again() {
    let server = MariaDb::start().await;
    works(&server).await;
    server.execute("DROP TABLE plugin.bk_plugin_messages, plugin.bk_plugin_dead_letters").await;
    server.execute("UPDATE plugin.bk_plugin_migrations SET success = FALSE").await;
    works(&server).await;
    // The process may also be killed after the last statement of each migration, before that is noted.
    server.execute("UPDATE plugin.bk_plugin_migrations SET success = FALSE").await;
    works(&server).await;
    // Or before it creates the first table.
    server.execute("DROP DATABASE plugin").await;
    server.execute("CREATE DATABASE plugin").await;
    works(&server).await;
}

#[tokio::test]
async fn a_newer_schema_is_refused_whether_it_is_complete_or_not() {
    let server = MariaDb::start().await;
    works(&server).await;
    for success in ["TRUE", "FALSE"] {
        let newer = format!(
            "REPLACE INTO plugin.bk_plugin_migrations (version, description, success, checksum, execution_time) \
             VALUES (9000, 'of tomorrow', {success}, x'00', 1)"
        );
        server.execute(&newer).await;
        let error = failure(&server.address()).await;
        assert!(matches!(error, OpenError::Newer { found: 9000, known: 3, .. }), "{error}");
    }
}

#[tokio::test]
async fn each_refusal_has_an_error_of_its_own() {
    let server = MariaDb::start().await;
    let address = |database: &str, password: &str| {
        let port = server.url().rsplit(':').next().unwrap().split('/').next().unwrap().parse().unwrap();
        MysqlAddress::new("127.0.0.1", port, database, "plugin", &SecretString::from(password))
    };
    let error = failure(&address("plugin", "a wrong one")).await;
    assert!(matches!(error, OpenError::Denied { .. }), "{error}");
    let error = failure(&address("mysql", "a p@ss/word")).await;
    assert!(matches!(error, OpenError::Denied { .. }), "{error}");
    server.execute("GRANT ALL ON *.* TO plugin@'127.0.0.1'").await;
    let error = failure(&address("nowhere", "a p@ss/word")).await;
    assert!(matches!(error, OpenError::Unknown { .. }), "{error}");
    let required = Tls { accept_any_server: true, ca: Some("/nowhere/ca.pem".into()), ..Tls::default() };
    let error = failure(&address("plugin", "a p@ss/word").with_tls(&required)).await;
    assert!(matches!(error, OpenError::Tls { .. }), "{error}");
}

#[tokio::test]
async fn opening_waits_for_a_database_that_is_down() {
    let mut server = MariaDb::start().await;
    let address = server.address();
    server.stop();
    let error = failure(&address).await;
    assert!(matches!(error, OpenError::Away { .. }), "{error}");

    let opening = tokio::spawn(async move { MysqlStore::open(&address, MysqlOptions::default()).await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!opening.is_finished());
    server.start_again().await;
    opening.await.unwrap().unwrap().ping().await.unwrap();
}

/// A server that has no cipher in common with this program, as MySQL 5.7 with its own TLS.
#[tokio::test]
async fn without_a_common_cipher_nothing_is_encrypted_unless_that_is_demanded() {
    let file =
        |option, name| format!("--ssl-{option}={}/tests/mysql/data/{name}", env!("CARGO_MANIFEST_DIR"));
    let server = MariaDb::start_with(&[
        &file("cert", "localhost.pem"),
        &file("key", "localhost.key"),
        "--tls-version=TLSv1.2",
        "--ssl-cipher=DHE-RSA-AES256-GCM-SHA384",
    ])
    .await;
    works(&server).await;
    let demanding = MysqlAddress::from_url(&format!("{}?ssl-mode=REQUIRED", server.url())).unwrap();
    assert!(matches!(failure(&demanding).await, OpenError::Tls { .. }));
}
