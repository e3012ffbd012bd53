//! Which addresses are public.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Whether anybody on the internet could reach `address`: what is left after the special-purpose
/// registries of IANA (RFC 6890 and later entries) and multicast.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// Whether all of `network` is public.
pub(super) fn is_public_network(network: IpNet) -> bool {
    // Of two networks one lies within the other, or they have nothing in common: what is special contains all of
    // `network`, its first address among it, or begins within it.
    let mut special = SPECIAL.iter().filter_map(|special| special.parse::<IpNet>().ok());
    is_public(network.network().to_canonical())
        && is_public(network.broadcast().to_canonical())
        && !special.any(|special| network.contains(&special.network()))
}

/// What [`is_public`] says no to and lies between addresses that are public.
const SPECIAL: [&str; 19] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/3",
    "64:ff9b::/96",
    "2001::/23",
    "2001:db8::/32",
    "2002::/16",
    "3fff::/20",
];

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = a == 0
        || a == 10
        || a == 127
        || (a == 100 && (64..128).contains(&b)) // Shared address space, with a cloud's metadata.
        || (a == 169 && b == 254) // Link-local, with most clouds' metadata.
        || (a == 172 && (16..32).contains(&b))
        || (a == 192 && b == 0 && (c == 0 || c == 2))
        || (a == 192 && b == 88 && c == 99)
        || (a == 192 && b == 168)
        || (a == 198 && (b == 18 || b == 19))
        || (a == 198 && b == 51 && c == 100)
        || (a == 203 && b == 0 && c == 113)
        || a >= 224;
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    match address.segments() {
        // NAT64 carries an IPv4 address, which has to be public itself.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            let [[a, b], [c, d]] = [high.to_be_bytes(), low.to_be_bytes()];
            is_public_v4(Ipv4Addr::new(a, b, c, d))
        }
        // Global unicast is 2000::/3; within it, what leads elsewhere or nowhere:
        [0x2001, 0..0x200 | 0xdb8, ..] => false, // Teredo, benchmarking, ORCHID; documentation.
        [0x2002, ..] => false,                   // 6to4 carries an IPv4 address.
        [0x3fff, 0..0x1000, ..] => false,        // Documentation.
        [first, ..] => (0x2000..0x4000).contains(&first),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_addresses_are_not_public() {
        for address in [
            "0.0.0.0",
            "10.1.2.3",
            "100.100.100.200",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "64:ff9b::7f00:1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "ff02::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
        ] {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
        let mapped: IpAddr = "::ffff:127.0.0.1".parse().unwrap();
        assert!(!is_public(mapped.to_canonical()));
        for address in
            ["1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "64:ff9b::101:101"]
        {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn a_network_is_public_where_all_of_it_is() {
        for network in ["1.1.1.0/24", "8.0.0.0/7", "2606:4700::/32", "1.1.1.1/32"] {
            assert!(is_public_network(network.parse().unwrap()), "{network}");
        }
        for network in [
            "0.0.0.0/0",
            "128.0.0.0/1",
            "10.1.0.0/16",
            "169.254.169.254/32",
            "192.0.0.0/16",
            "203.0.0.0/8",
            "::/0",
            "2000::/3",
            "2001::/16",
            "::1/128",
        ] {
            assert!(!is_public_network(network.parse().unwrap()), "{network}");
        }
    }
}
