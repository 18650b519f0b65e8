//! A service on the database of the suite, and callers with tokens.

use std::ops::Deref;
use std::sync::Arc;

use carillon::channel::Channel;
use carillon::store::{Address, Rows};
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};

use super::BACKEND;
use crate::database::{Backend, Place};
use crate::house::{Answer, House};

const SMALL: &str = "\
kind: template
key: hello
email: { subject: Hi, html: <p>Hi</p> }
---
kind: campaign
key: cart
name: Cart
owner: crm@shop.example
type: trigger
status: live
purpose: marketing
entry: { event: Product Added, key: properties.cart_id }
delay: 1h
send: { channel: email, template: hello }
---
kind: segment
key: reachable
name: Reachable
owner: crm@shop.example
where: { trait: { email: { exists: true } } }
";

pub struct World {
    pub house: House,
    place: Place,
}

impl Deref for World {
    type Target = House;

    fn deref(&self) -> &House {
        &self.house
    }
}

impl World {
    pub async fn new() -> Self {
        Self::carried(None).await
    }

    /// With this provider for every channel.
    pub async fn carried_by(provider: Arc<dyn Channel>) -> Self {
        Self::carried(Some(provider)).await
    }

    async fn carried(provider: Option<Arc<dyn Channel>>) -> Self {
        let place = Place::new(BACKEND).await;
        Self { house: House::on(Some(place.address()), provider).await, place }
    }

    /// Changes what is stored, behind everybody's back.
    pub async fn change(&self, sql: &str) {
        let database = carillon::store::open(self.place.address()).await.unwrap();
        database.writer.execute_unprepared(sql).await.unwrap();
        database.reader.close().await.unwrap();
        database.writer.close().await.unwrap();
    }

    /// A service on a database where all there was is another workspace's.
    pub async fn given_away(self) -> Self {
        let Self { house, place } = self;
        house.close().await;
        let database = carillon::store::open(place.address()).await.unwrap();
        let named = match BACKEND {
            Backend::Sqlite => {
                "SELECT m.name FROM sqlite_master m JOIN pragma_table_info(m.name) c ON c.name = 'workspace' WHERE m.type = 'table'"
            }
            Backend::Postgres => {
                "SELECT table_name::text FROM information_schema.columns WHERE column_name = 'workspace' AND table_schema = 'public'"
            }
        };
        for row in Rows(&database.writer).all(named, vec![]).await.unwrap() {
            let table: String = row.try_get_by_index(0).unwrap();
            let sql = format!("UPDATE {table} SET workspace = 2 WHERE workspace = 1");
            database.writer.execute_unprepared(&sql).await.unwrap();
        }
        database.reader.close().await.unwrap();
        database.writer.close().await.unwrap();
        Self { house: House::on(Some(place.address()), None).await, place }
    }

    /// With one definition of a kind in force, so that nothing takes long.
    pub async fn small() -> Self {
        let world = Self::new().await;
        world.post("/api/v1/definitions", json!({ "files": [{ "name": "shop.yaml", "text": SMALL }] })).await.ok();
        world
    }

    /// With the demo's definitions in force.
    pub async fn furnished() -> Self {
        let world = Self::new().await;
        world.furnish().await;
        world
    }

    /// The id and the secret of a new token.
    pub async fn token(&self, scopes: &[&str]) -> (String, String) {
        let made = self.post("/api/v1/tokens", json!({ "name": "a program", "scopes": scopes })).await.ok();
        (made["id"].as_str().unwrap().to_owned(), made["secret"].as_str().unwrap().to_owned())
    }

    pub async fn as_bearer(&self, secret: &str, method: &str, path: &str, body: Option<Value>) -> Answer {
        let mut request = self.request(method, path).bearer_auth(secret);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        self.ask(request).await
    }

    /// Another process on the same database: PostgreSQL only.
    pub async fn neighbour(&self) -> Option<House> {
        match self.place.address() {
            Address::Sqlite(_) => None,
            address @ Address::Postgres(_) => Some(House::on(Some(address), None).await),
        }
    }

    /// Stopped and started again, with another provider.
    pub async fn again(self, provider: Arc<dyn Channel>) -> Self {
        Self { house: self.house.again(provider).await, place: self.place }
    }

    pub async fn close(self) {
        self.house.close().await;
    }
}
