//! Finds types that are made of nothing but themselves.

use std::collections::HashSet;

use super::{Kind, NodeId, Plan};

/// Whether a definition leads back to itself at the same value. Such a type, `enum E { Leaf(i64), Again(Box<E>) }`
/// without a tag, has no end to a check that tries its members; and serde does not come to an end either.
pub(super) fn is_endless(plan: &Plan, definition: NodeId) -> bool {
    let mut seen = HashSet::new();
    let mut left = vec![definition];
    while let Some(id) = left.pop() {
        let next: &[NodeId] = match &plan[id].kind {
            Kind::Reference(to) => std::slice::from_ref(to),
            Kind::Union(union) => &union.members,
            Kind::All(parts) => parts,
            _ => &[],
        };
        for id in next {
            if *id == definition {
                return true;
            }
            if seen.insert(*id) {
                left.push(*id);
            }
        }
    }
    false
}
