//! `spin:redis@3.0.0`, for guests.

mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit/spin-redis",
        world: "imports",
        imports: { default: async | trappable },
        with: { "spin:redis/redis.connection": crate::redis::spin::Connection },
    });
}

use std::sync::Arc;

use bindings::spin::redis::redis::{self as interface, Error, RedisParameter, RedisResult};
use redis::{Cmd, Value};
use wasmtime::component::{Accessor, HasData, Resource, ResourceTable};

use super::{Failure, Granted, Server, commands};
use crate::{
    linking::{Linking, add},
    operate::operate,
    parts::Caller,
};

/// A server that is granted.
#[expect(unreachable_pub, reason = "the bindings re-export it")]
pub struct Connection(Arc<Server>);

/// What the interface is implemented for.
struct Redis;

impl HasData for Redis {
    type Data<'a> = View<'a>;
}

/// An instance's servers and its table of resources.
pub(crate) struct View<'a> {
    granted: &'a Granted,
    table: &'a mut ResourceTable,
}

impl<'a> View<'a> {
    pub(crate) fn of(caller: Caller<'a>) -> Self {
        Self { granted: &caller.part.redis, table: caller.table }
    }
}

pub(super) fn link(to: &mut Linking<'_>) -> wasmtime::Result<()> {
    add!(to, "spin:redis/redis@3.0.0", interface, Redis, redis)
}

type Served<T> = wasmtime::Result<Result<T, Error>>;

impl interface::Host for View<'_> {}

impl interface::HostConnection for View<'_> {
    async fn drop(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
        self.table.delete(connection)?;
        Ok(())
    }
}

impl<T: Send> interface::HostConnectionWithStore<T> for Redis {
    async fn open(accessor: &Accessor<T, Self>, address: String) -> Served<Resource<Connection>> {
        accessor.with(|mut store| {
            let View { granted, table } = store.get();
            let Some(server) = granted.open(&address, "redis") else {
                return Ok(Err(Error::InvalidAddress));
            };
            Ok(Ok(table.push(Connection(server.clone()))?))
        })
    }

    async fn publish(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        channel: String,
        payload: Vec<u8>,
    ) -> Served<()> {
        let server = server(accessor, &connection)?;
        let receivers = ask(&server, Cmd::new().arg("PUBLISH").arg(channel).arg(payload)).await;
        Ok(receivers.map(|_| ()))
    }

    async fn get(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        key: String,
    ) -> Served<Option<Vec<u8>>> {
        let server = server(accessor, &connection)?;
        let value = ask(&server, Cmd::new().arg("GET").arg(key)).await;
        Ok(value.and_then(|value| match value {
            Value::Nil => Ok(None),
            value => bytes(value).map(Some),
        }))
    }

    async fn set(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        key: String,
        value: Vec<u8>,
    ) -> Served<()> {
        let server = server(accessor, &connection)?;
        Ok(ask(&server, Cmd::new().arg("SET").arg(key).arg(value)).await.map(|_| ()))
    }

    async fn incr(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        key: String,
    ) -> Served<i64> {
        let server = server(accessor, &connection)?;
        Ok(ask(&server, Cmd::new().arg("INCR").arg(key)).await.and_then(number))
    }

    async fn del(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        keys: Vec<String>,
    ) -> Served<u32> {
        let server = server(accessor, &connection)?;
        Ok(count(&server, Cmd::new().arg("DEL"), keys).await)
    }

    async fn sadd(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        key: String,
        values: Vec<String>,
    ) -> Served<u32> {
        let server = server(accessor, &connection)?;
        Ok(count(&server, Cmd::new().arg("SADD").arg(key), values).await)
    }

    async fn smembers(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        key: String,
    ) -> Served<Vec<String>> {
        let server = server(accessor, &connection)?;
        let members = ask(&server, Cmd::new().arg("SMEMBERS").arg(key)).await;
        Ok(members.and_then(|members| match members {
            Value::Array(members) | Value::Set(members) => {
                members.into_iter().map(|member| text(bytes(member)?)).collect()
            }
            _ => Err(Error::TypeError),
        }))
    }

    async fn srem(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        key: String,
        values: Vec<String>,
    ) -> Served<u32> {
        let server = server(accessor, &connection)?;
        Ok(count(&server, Cmd::new().arg("SREM").arg(key), values).await)
    }

    async fn execute(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        command: String,
        arguments: Vec<RedisParameter>,
    ) -> Served<Vec<RedisResult>> {
        let server = server(accessor, &connection)?;
        Ok(execute(&server, &command, arguments).await)
    }
}

fn server<T>(
    accessor: &Accessor<T, Redis>,
    connection: &Resource<Connection>,
) -> wasmtime::Result<Arc<Server>> {
    accessor.with(|mut store| Ok(store.get().table.get(connection)?.0.clone()))
}

async fn ask(server: &Server, command: &Cmd) -> Result<Value, Error> {
    operate("redis", "command", server.run(command)).await.map_err(|failure| match failure {
        Failure::Unreachable => Error::Other("the server can't be reached".to_owned()),
        Failure::Said { code, words }
            if code == "WRONGTYPE" || words.contains("not an integer") =>
        {
            Error::TypeError
        }
        Failure::Said { words, .. } => Error::Other(words),
    })
}

/// Of how many of `values` the server says that something was done. Without any it would take the
/// command for a wrong one.
async fn count(server: &Server, command: &mut Cmd, values: Vec<String>) -> Result<u32, Error> {
    if values.is_empty() {
        return Ok(0);
    }
    let done = number(ask(server, command.arg(values)).await?)?;
    Ok(u32::try_from(done).unwrap_or(u32::MAX))
}

async fn execute(
    server: &Server,
    command: &str,
    arguments: Vec<RedisParameter>,
) -> Result<Vec<RedisResult>, Error> {
    let bytes = arguments.iter().filter_map(|argument| match argument {
        RedisParameter::Binary(bytes) => Some(bytes.as_slice()),
        RedisParameter::Int64(_) => None,
    });
    if !commands::is_served(command, bytes) {
        return Err(Error::Other(format!("the command {command} is not for guests")));
    }
    let mut sent = Cmd::new();
    sent.arg(command);
    for argument in arguments {
        match argument {
            RedisParameter::Int64(integer) => sent.arg(integer),
            RedisParameter::Binary(bytes) => sent.arg(bytes),
        };
    }
    let mut results = Vec::new();
    flatten(ask(server, &sent).await?, &mut results)?;
    Ok(results)
}

/// Adds a value, and all that are in it.
fn flatten(value: Value, results: &mut Vec<RedisResult>) -> Result<(), Error> {
    match value {
        Value::Nil => results.push(RedisResult::Nil),
        Value::Int(integer) => results.push(RedisResult::Int64(integer)),
        Value::Boolean(boolean) => results.push(RedisResult::Int64(boolean.into())),
        Value::SimpleString(text) => results.push(RedisResult::Status(text)),
        Value::Okay => results.push(RedisResult::Status("OK".to_owned())),
        Value::Double(float) => results.push(RedisResult::Binary(float.to_string().into_bytes())),
        Value::Array(values) | Value::Set(values) => {
            return values.into_iter().try_for_each(|value| flatten(value, results));
        }
        Value::Map(entries) => {
            for (key, value) in entries {
                flatten(key, results)?;
                flatten(value, results)?;
            }
        }
        other => results.push(RedisResult::Binary(bytes(other)?)),
    }
    Ok(())
}

fn number(value: Value) -> Result<i64, Error> {
    match value {
        Value::Int(number) => Ok(number),
        _ => Err(Error::TypeError),
    }
}

fn bytes(value: Value) -> Result<Vec<u8>, Error> {
    match value {
        Value::BulkString(bytes) => Ok(bytes),
        Value::VerbatimString { text, .. } | Value::SimpleString(text) => Ok(text.into_bytes()),
        _ => Err(Error::TypeError),
    }
}

fn text(bytes: Vec<u8>) -> Result<String, Error> {
    String::from_utf8(bytes).map_err(|_| Error::TypeError)
}
