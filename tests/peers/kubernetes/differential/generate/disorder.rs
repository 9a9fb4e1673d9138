//! Lists in another order than the one that objects are drawn in.

use fastrand::Rng;
use serde_json::Value;

use super::super::objects::once_in;

/// Brings the items of lists into another order, and some of them twice. What is drawn is nobody else's to draw.
pub(super) fn disorder(rng: &Rng, body: &mut Value) {
    fn visit(rng: &mut Rng, value: &mut Value) {
        match value {
            Value::Object(map) => map.values_mut().for_each(|value| visit(rng, value)),
            Value::Array(items) => {
                items.iter_mut().for_each(|item| visit(rng, item));
                rng.shuffle(items);
                if once_in(rng, 8)
                    && let Some(first) = items.first()
                {
                    items.push(first.clone());
                }
            }
            _ => {}
        }
    }
    let mut own = rng.clone();
    if once_in(&mut own, 5) {
        visit(&mut own, body);
    }
}
