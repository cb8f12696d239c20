//! A database of a test's own on the PostgreSQL that the environment names.

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

/// An empty database.
pub struct Database {
    /// The server: `postgres://user@host:port`.
    root: String,
    server: String,
    name: String,
}

impl Database {
    /// None when the environment names no server.
    pub async fn new() -> Option<Self> {
        #[expect(clippy::disallowed_methods, reason = "a test has no configuration to read the server from")]
        let Ok(server) = std::env::var("SWITCHBOARD_TEST_POSTGRES") else {
            eprintln!("skipped: SWITCHBOARD_TEST_POSTGRES names no server");
            return None;
        };
        let name = format!("switchboard_{}", uuid::Uuid::now_v7().simple());
        let place = server.split_once('?').map_or(server.as_str(), |(place, _)| place);
        let root = match place.rsplit_once('/') {
            Some((root, _)) if !root.ends_with('/') => root.to_owned(),
            _ => place.to_owned(),
        };
        let database = Self { root, server, name };
        database.administer(format!("CREATE DATABASE {}", database.name)).await;
        Some(database)
    }

    pub fn url(&self) -> String {
        format!("{}/{}", self.root, self.name)
    }

    /// `host:port` of the server.
    pub fn address(&self) -> String {
        let (_, place) = self.root.split_once("://").unwrap();
        place.rsplit_once('@').map_or(place, |(_, address)| address).to_owned()
    }

    /// The same database through another address.
    pub fn url_through(&self, address: &str) -> String {
        self.url().replace(&self.address(), address)
    }

    pub async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.url()).await.unwrap()
    }

    pub async fn drop(self) {
        self.administer(format!("DROP DATABASE {} WITH (FORCE)", self.name)).await;
    }

    /// Databases are copied from one template, one at a time.
    async fn administer(&self, sql: String) {
        let mut connection = PgConnection::connect(&self.server).await.unwrap();
        connection.execute("SELECT pg_advisory_lock(731)").await.unwrap();
        connection.execute(AssertSqlSafe(sql)).await.unwrap();
        connection.close().await.unwrap();
    }
}
