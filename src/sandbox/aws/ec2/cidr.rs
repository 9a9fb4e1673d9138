//! IPv4 networks: parsing, overlap, and the blocks inside them.

use std::fmt;
use std::net::Ipv4Addr;

/// An IPv4 network, host bits cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    base: u32,
    prefix: u8,
}

impl Cidr {
    /// Parses `10.0.0.0/16`; host bits that are set are cleared, as EC2 does. `None` when it isn't a CIDR block.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        let address: Ipv4Addr = address.parse().ok()?;
        if prefix.is_empty() || prefix.len() > 2 || !prefix.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let prefix: u8 = prefix.parse().ok().filter(|prefix| *prefix <= 32)?;
        Some(Cidr {
            base: u32::from(address) & mask(prefix),
            prefix,
        })
    }

    /// The prefix length.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// How many addresses it has.
    pub fn size(&self) -> u64 {
        1 << (32 - self.prefix)
    }

    /// Whether all of `other` lies inside.
    pub fn contains(&self, other: &Cidr) -> bool {
        self.prefix <= other.prefix && other.base & mask(self.prefix) == self.base
    }

    /// Whether they share an address.
    pub fn overlaps(&self, other: &Cidr) -> bool {
        self.contains(other) || other.contains(self)
    }

    /// Whether the address lies inside.
    pub fn has(&self, address: Ipv4Addr) -> bool {
        u32::from(address) & mask(self.prefix) == self.base
    }

    /// The address at `offset`, where it lies inside.
    pub fn address(&self, offset: u64) -> Option<Ipv4Addr> {
        (offset < self.size()).then(|| Ipv4Addr::from(self.base + offset as u32))
    }

    /// The first `count` blocks with `host_bits` host bits; `None` when they don't fit.
    pub fn blocks(&self, count: u64, host_bits: u8) -> Option<Vec<Cidr>> {
        if host_bits > 32 || count << host_bits > self.size() {
            return None;
        }
        let prefix = 32 - host_bits;
        Some(
            (0..count)
                .map(|index| Cidr {
                    base: self.base + (index << host_bits) as u32,
                    prefix,
                })
                .collect(),
        )
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.base), self.prefix)
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_a_network_follow_each_other() {
        let network = Cidr::parse("10.42.0.0/16").unwrap();
        let blocks: Vec<String> = network
            .blocks(6, 13)
            .unwrap()
            .iter()
            .map(Cidr::to_string)
            .collect();
        assert_eq!(blocks[0], "10.42.0.0/19");
        assert_eq!(blocks[5], "10.42.160.0/19");
        assert!(network.blocks(9, 13).is_none());
    }

    #[test]
    fn hostile_text_is_no_network() {
        for text in [
            "10.0.0.0",
            "10.0.0.0/33",
            "10.0.0.0/+8",
            "10.0.0/8",
            "/8",
            "10.0.0.0/",
            "a/b",
        ] {
            assert!(Cidr::parse(text).is_none(), "{text}");
        }
        assert_eq!(
            Cidr::parse("10.0.7.9/16").unwrap().to_string(),
            "10.0.0.0/16"
        );
        assert_eq!(Cidr::parse("0.0.0.0/0").unwrap().size(), 1 << 32);
    }
}
