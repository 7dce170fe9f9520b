//! What tells the members of a union apart: a tag or a key. With it the member of a value is looked up, so that an enum
//! may have any number of variants.

use std::collections::HashMap;

use serde_json::Value;

use super::{Kind, NodeId, Object, Plan, Union};

/// The members of a union by their constants.
#[derive(Debug)]
pub(super) struct ByConstant {
    /// The property that has the constant; none if it is the only key of the object.
    tag: Option<String>,
    members: HashMap<String, NodeId>,
}

impl Union {
    /// The member that an object may be of, or no member, if that can be looked up.
    pub(in super::super) fn by_constant(&self, value: &Value) -> Option<Vec<NodeId>> {
        let by_constant = self.by_constant.as_ref()?;
        let values = value.as_object()?;
        let constant = match &by_constant.tag {
            Some(tag) => values.get(tag)?.as_str()?,
            None if values.len() == 1 => values.keys().next()?,
            None => return Some(Vec::new()),
        };
        Some(by_constant.members.get(constant).copied().into_iter().collect())
    }
}

impl Plan {
    /// Notes what tells the members of each union apart.
    pub(super) fn note_constants(&mut self) {
        for at in 0..self.nodes.len() {
            if let Kind::Union(union) = &self.nodes[at].kind {
                let by_constant = self.by_tag(union).or_else(|| self.by_key(union));
                if let Kind::Union(union) = &mut self.nodes[at].kind {
                    union.by_constant = by_constant;
                }
            }
        }
    }

    fn by_tag(&self, union: &Union) -> Option<ByConstant> {
        let mut members = HashMap::new();
        let mut tag = None;
        for member in &union.members {
            let object = self.object(*member)?;
            let [name] = object.constants.as_slice() else { return None };
            let Kind::Enum { permitted, .. } = &self[*object.properties.get(name)?].kind else { return None };
            let constant = permitted.first()?.as_str()?;
            if *tag.get_or_insert(name) != name || members.insert(constant.to_owned(), *member).is_some() {
                return None;
            }
        }
        Some(ByConstant { tag: tag.cloned(), members })
    }

    fn by_key(&self, union: &Union) -> Option<ByConstant> {
        let mut members = HashMap::new();
        for member in &union.members {
            match &self[*member].kind {
                Kind::Object(object) => {
                    let is_again = members.insert(object.only_key()?.to_owned(), *member).is_some();
                    (!is_again).then_some(())?;
                }
                // No object is one of these.
                Kind::Scalar(_) | Kind::List(_) | Kind::Set(_) | Kind::Tuple(_) => {}
                Kind::Enum { permitted, .. } if !permitted.iter().any(Value::is_object) => {}
                _ => return None,
            }
        }
        Some(ByConstant { tag: None, members })
    }

    /// The object that a member is, alone or with other parts.
    fn object(&self, id: NodeId) -> Option<&Object> {
        match &self[id].kind {
            Kind::Object(object) => Some(object),
            Kind::All(parts) => parts.iter().find_map(|part| match &self[*part].kind {
                Kind::Object(object) => Some(object),
                _ => None,
            }),
            _ => None,
        }
    }
}
