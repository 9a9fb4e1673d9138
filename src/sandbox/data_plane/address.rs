//! Loopback addresses for pods and load balancers.
//!
//! A real API server refuses loopback addresses in endpoints, so objects show 10.a.b.c while processes bind
//! 127.a.b.c. An address is taken by holding a listener on it for as long as it is in use: two sandboxes on one machine
//! keep out of each other's way without knowing of each other.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// The port whose listener marks an address as taken; beyond the ephemeral range, and free to bind without root.
const LOCK_PORT: u16 = 61999;

/// The second octets of load balancers' addresses.
const BALANCERS: std::ops::Range<u8> = 240..250;

/// The loopback address that stands for an address of the VPC: the same last three octets in 127.0.0.0/8.
pub fn twin(address: Ipv4Addr) -> Ipv4Addr {
    let [_, a, b, c] = address.octets();
    Ipv4Addr::new(127, a, b, c)
}

/// The twin of an address as objects hold it; a loopback address is its own twin.
pub fn twin_of(text: &str) -> Option<IpAddr> {
    match text.parse().ok()? {
        IpAddr::V4(address) => Some(IpAddr::V4(twin(address))),
        IpAddr::V6(_) => None,
    }
}

/// Where the application of a pod listens when an Envoy of its own listens on the pod's twin.
pub fn inner(address: Ipv4Addr) -> Ipv4Addr {
    let [_, a, b, c] = address.octets();
    Ipv4Addr::new(127, a ^ 0x80, b, c)
}

/// An address in use; free again when dropped.
#[derive(Debug)]
pub struct Hold {
    /// The address as the API shows it.
    pub shown: Ipv4Addr,
    /// Its twin.
    pub twin: Ipv4Addr,
    _lock: TcpListener,
}

impl Hold {
    /// Takes an address, or fails with `AddrInUse` when somebody on this machine has it.
    pub fn take(shown: Ipv4Addr) -> io::Result<Hold> {
        let twin = twin(shown);
        let lock = TcpListener::bind(SocketAddr::from((twin, LOCK_PORT)))?;
        Ok(Hold {
            shown,
            twin,
            _lock: lock,
        })
    }
}

/// Hands out a subnet's addresses in turn, as the VPC CNI does: one that was given back is not the next to be given.
#[derive(Debug)]
pub struct Pool {
    first: u32,
    size: u32,
    next: AtomicU32,
}

impl Pool {
    /// A pool over the upper half of a subnet; the lower half is for instances and load balancers. `start` spreads
    /// the nodes that share a subnet.
    pub fn new((network, prefix): (Ipv4Addr, u8), start: u32) -> Pool {
        let size = 1u32 << (32 - u32::from(prefix.clamp(8, 30)));
        Pool {
            first: u32::from(network) + size / 2,
            // The last address is the broadcast address.
            size: (size / 2 - 1).max(1),
            next: AtomicU32::new(start),
        }
    }

    /// Takes the next free address.
    pub fn take(&self) -> io::Result<Hold> {
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for _ in 0..self.size.min(4096) {
            let next = self.next.fetch_add(1, Ordering::Relaxed);
            match Hold::take(Ipv4Addr::from(self.first + next % self.size)) {
                Ok(hold) => return Ok(hold),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = error,
                // Any other error (no such address on this system) is the same for every address.
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }
}

/// A loopback address for a new load balancer that nobody on this machine holds.
pub fn free_balancer(taken: impl Fn(Ipv4Addr) -> bool) -> Option<Ipv4Addr> {
    (0..64)
        .map(|_| {
            Ipv4Addr::new(
                127,
                fastrand::u8(BALANCERS),
                fastrand::u8(..),
                fastrand::u8(1..255),
            )
        })
        .find(|address| !taken(*address) && Hold::take(*address).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_held_once_and_free_after() {
        let shown = Ipv4Addr::new(10, 211, 7, 9);
        let hold = Hold::take(shown).unwrap();
        assert_eq!(hold.twin, Ipv4Addr::new(127, 211, 7, 9));
        assert_eq!(
            Hold::take(shown).unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
        drop(hold);
        Hold::take(shown).unwrap();
    }

    #[test]
    fn a_pool_skips_what_is_held_and_stays_in_the_subnet() {
        let subnet = (Ipv4Addr::new(10, 212, 0, 0), 29);
        let other = Hold::take(Ipv4Addr::new(10, 212, 0, 4)).unwrap();
        let pool = Pool::new(subnet, 0);
        let (first, second) = (pool.take().unwrap(), pool.take().unwrap());
        assert_eq!(first.shown, Ipv4Addr::new(10, 212, 0, 5));
        assert_eq!(second.shown, Ipv4Addr::new(10, 212, 0, 6));
        assert_eq!(pool.take().unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(other);
        assert_eq!(pool.take().unwrap().shown, Ipv4Addr::new(10, 212, 0, 4));
    }

    #[test]
    fn the_inner_address_is_another_one() {
        assert_eq!(
            inner(Ipv4Addr::new(10, 0, 64, 7)),
            Ipv4Addr::new(127, 128, 64, 7)
        );
    }
}
