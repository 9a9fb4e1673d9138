//! Which addresses Services have: kept by the store's events, since each new Service asks for one that is free.

use std::collections::HashMap;

use serde_json::Value;

use super::object;
use super::store::{Change, Store};

const TABLE: &str = "services";

/// The addresses of all Services as of a revision.
#[derive(Default)]
pub struct Addresses {
    /// Up to where the store's events are taken in; nothing before the first look.
    seen: Option<u64>,
    /// How many Services have each; those without one share `None`.
    used: HashMap<String, usize>,
}

impl Addresses {
    /// Takes in what has changed since the last look.
    pub fn follow(&mut self, store: &Store) {
        let Some(Ok((events, revision))) = self.seen.map(|seen| store.since(TABLE, seen)) else {
            let all = store.page(TABLE, "", None, 0, |_| true);
            self.used.clear();
            for service in &all.objects {
                self.enter(&service.value);
            }
            self.seen = Some(all.revision);
            return;
        };
        for event in events {
            if let Some(previous) = &event.previous {
                self.leave(&previous.value);
            }
            if event.change != Change::Deleted {
                self.enter(&event.object.value);
            }
        }
        self.seen = Some(revision);
    }

    /// Whether a Service has this address.
    pub fn has(&self, address: &str) -> bool {
        self.used.contains_key(address)
    }

    fn enter(&mut self, service: &Value) {
        let address = object::text(service, "spec.clusterIP").to_owned();
        *self.used.entry(address).or_default() += 1;
    }

    fn leave(&mut self, service: &Value) {
        let address = object::text(service, "spec.clusterIP");
        if let Some(count) = self.used.get_mut(address) {
            *count -= 1;
            if *count == 0 {
                self.used.remove(address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::store::Expected;
    use super::*;

    fn service(name: &str, address: &str) -> Value {
        json!({"metadata": {"namespace": "demo", "name": name}, "spec": {"clusterIP": address}})
    }

    #[tokio::test]
    async fn addresses_come_and_go_with_their_services() {
        let folder = tempfile::tempdir().unwrap();
        // So short a memory that what is not looked at for long has to be read anew.
        let (store, _saved) = Store::open(folder.path(), 2).unwrap();
        let mut addresses = Addresses::default();
        addresses.follow(&store);
        assert!(!addresses.has("10.0.0.1"));
        let put = |name: &str, address: &str| {
            let made = store.put(TABLE, service(name, address), Expected::Absent);
            made.unwrap().revision
        };
        let first = put("a", "10.0.0.1");
        put("headless", "None");
        addresses.follow(&store);
        assert!(addresses.has("10.0.0.1") && addresses.has("None"));
        let changed = service("a", "10.0.0.2");
        let second = store.put(TABLE, changed, Expected::Revision(first));
        let second = second.unwrap().revision;
        let other = put("other", "None");
        addresses.follow(&store);
        assert!(!addresses.has("10.0.0.1") && addresses.has("10.0.0.2"));
        let delete = |name: &str, address: &str, revision: u64| {
            let deleted = store.delete(TABLE, service(name, address), revision);
            assert!(deleted.is_ok());
        };
        delete("other", "None", other);
        addresses.follow(&store);
        assert!(addresses.has("None"), "another has none either");
        delete("a", "10.0.0.2", second);
        for index in 3..8 {
            put(&format!("more-{index}"), &format!("10.0.0.{index}"));
        }
        addresses.follow(&store);
        assert!(!addresses.has("10.0.0.2") && addresses.has("10.0.0.3"));
    }
}
