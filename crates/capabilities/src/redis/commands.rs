//! Which commands guests may run by name.
//!
//! They are listed, and not what is refused: the connection is everybody's, and a command that a server
//! learns tomorrow may change it for the next one (`SELECT`, `AUTH`, `MULTI`, `SUBSCRIBE`), have it wait
//! (`BLPOP`), or be the operator's (`CONFIG`, `FLUSHALL`, `SCRIPT`). What scripts may do, and which keys
//! are within reach, is up to the user whom the operator names in the URL (ACL).

/// Redis, "Commands": those on keys and their values, and messages.
#[rustfmt::skip]
const COMMANDS: &[&str] = &[
    // Keys.
    "DBSIZE", "DEL", "EXISTS", "EXPIRE", "EXPIREAT", "EXPIRETIME", "KEYS", "OBJECT", "PERSIST",
    "PEXPIRE", "PEXPIREAT", "PEXPIRETIME", "PTTL", "RANDOMKEY", "RENAME", "RENAMENX", "SCAN", "SORT",
    "SORT_RO", "TOUCH", "TTL", "TYPE", "UNLINK",
    // Strings and bits.
    "APPEND", "BITCOUNT", "BITFIELD", "BITFIELD_RO", "BITOP", "BITPOS", "DECR", "DECRBY", "GET",
    "GETBIT", "GETDEL", "GETEX", "GETRANGE", "GETSET", "INCR", "INCRBY", "INCRBYFLOAT", "LCS", "MGET",
    "MSET", "MSETNX", "PSETEX", "SET", "SETBIT", "SETEX", "SETNX", "SETRANGE", "STRLEN", "SUBSTR",
    // Hashes.
    "HDEL", "HEXISTS", "HEXPIRE", "HEXPIREAT", "HEXPIRETIME", "HGET", "HGETALL", "HGETDEL", "HGETEX",
    "HINCRBY", "HINCRBYFLOAT", "HKEYS", "HLEN", "HMGET", "HMSET", "HPERSIST", "HPEXPIRE", "HPEXPIREAT",
    "HPEXPIRETIME", "HPTTL", "HRANDFIELD", "HSCAN", "HSET", "HSETEX", "HSETNX", "HSTRLEN", "HTTL",
    "HVALS",
    // Lists.
    "LINDEX", "LINSERT", "LLEN", "LMOVE", "LMPOP", "LPOP", "LPOS", "LPUSH", "LPUSHX", "LRANGE", "LREM",
    "LSET", "LTRIM", "RPOP", "RPOPLPUSH", "RPUSH", "RPUSHX",
    // Sets.
    "SADD", "SCARD", "SDIFF", "SDIFFSTORE", "SINTER", "SINTERCARD", "SINTERSTORE", "SISMEMBER",
    "SMEMBERS", "SMISMEMBER", "SMOVE", "SPOP", "SRANDMEMBER", "SREM", "SSCAN", "SUNION", "SUNIONSTORE",
    "ZADD", "ZCARD", "ZCOUNT", "ZDIFF", "ZDIFFSTORE", "ZINCRBY", "ZINTER", "ZINTERCARD", "ZINTERSTORE",
    "ZLEXCOUNT", "ZMPOP", "ZMSCORE", "ZPOPMAX", "ZPOPMIN", "ZRANDMEMBER", "ZRANGE", "ZRANGEBYLEX",
    "ZRANGEBYSCORE", "ZRANGESTORE", "ZRANK", "ZREM", "ZREMRANGEBYLEX", "ZREMRANGEBYRANK",
    "ZREMRANGEBYSCORE", "ZREVRANGE", "ZREVRANGEBYLEX", "ZREVRANGEBYSCORE", "ZREVRANK", "ZSCAN",
    "ZSCORE", "ZUNION", "ZUNIONSTORE",
    // What is counted or somewhere.
    "GEOADD", "GEODIST", "GEOHASH", "GEOPOS", "GEORADIUS", "GEORADIUSBYMEMBER",
    "GEORADIUSBYMEMBER_RO", "GEORADIUS_RO", "GEOSEARCH", "GEOSEARCHSTORE", "PFADD", "PFCOUNT",
    "PFMERGE",
    // Streams and messages.
    "PUBLISH", "PUBSUB", "SPUBLISH", "XACK", "XADD", "XAUTOCLAIM", "XCLAIM", "XDEL", "XGROUP", "XINFO",
    "XLEN", "XPENDING", "XRANGE", "XREAD", "XREADGROUP", "XREVRANGE", "XTRIM",
    // Scripts, which can't change the connection.
    "EVAL", "EVALSHA", "EVALSHA_RO", "EVAL_RO", "FCALL", "FCALL_RO",
    "ECHO", "PING", "TIME",
];

/// Whether guests may run `command` with `arguments`.
pub(super) fn is_served<'a>(command: &str, mut arguments: impl Iterator<Item = &'a [u8]>) -> bool {
    let command = command.to_ascii_uppercase();
    if !COMMANDS.contains(&command.as_str()) {
        return false;
    }
    // These wait where they are told to.
    let may_wait = matches!(&*command, "XREAD" | "XREADGROUP");
    !(may_wait && arguments.any(|argument| argument.eq_ignore_ascii_case(b"BLOCK")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_works_on_keys_is_served() {
        for command in ["GET", "hset", "ZAdd", "XREAD", "EVAL"] {
            assert!(is_served(command, [].into_iter()), "{command}");
        }
        for command in [
            "SELECT",
            "AUTH",
            "HELLO",
            "RESET",
            "QUIT",
            "CLIENT",
            "MULTI",
            "EXEC",
            "WATCH",
            "SUBSCRIBE",
            "PSUBSCRIBE",
            "SSUBSCRIBE",
            "MONITOR",
            "BLPOP",
            "BZPOPMIN",
            "BLMOVE",
            "WAIT",
            "CONFIG",
            "SCRIPT",
            "FUNCTION",
            "DEBUG",
            "SHUTDOWN",
            "REPLICAOF",
            "ACL",
            "FLUSHALL",
            "FLUSHDB",
            "MIGRATE",
            "RESTORE",
            "MODULE",
            "SWAPDB",
            "MOVE",
            "",
            "GET a",
            "GET\r\nSELECT",
        ] {
            assert!(!is_served(command, [].into_iter()), "{command}");
        }
        let arguments = [&b"Block"[..], b"0", b"STREAMS", b"a", b"$"];
        assert!(!is_served("xread", arguments.into_iter()));
        assert!(is_served("HSET", arguments.into_iter()));
    }
}
