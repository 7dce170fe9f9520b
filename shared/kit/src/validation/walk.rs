//! The walk over values along the nodes of a plan.

use std::collections::HashMap;
use std::rc::Rc;

use serde_json::Value;

use super::patch::Patch;
use super::plan::{Kind, NodeId, Plan, Scalar, Union};
use super::work::Work;

/// One check of values.
///
/// What was found of a value and a definition is kept: two members of a union that have the same field look at its
/// value once. Every circle of nodes leads through a definition, so each value meets each node once.
pub(super) struct Walk<'p> {
    pub(super) plan: &'p Plan,
    pub(super) work: &'p mut Work,
    pub(super) coerced: HashMap<Met, Option<Patch>>,
    pub(super) valid: HashMap<Met, bool>,
    /// Values that were made on the way. They are kept so that no other value comes to have their address.
    made: Vec<Rc<Value>>,
}

/// A node and the address of a value. The values live, and are not changed, for as long as the walk.
pub(super) type Met = (NodeId, *const Value);

/// What the constants of a union's member, a tag or a key, say of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// It is another member's.
    Other,
    /// They do not tell.
    Unknown,
    /// It is meant to be of this member.
    Meant,
}

impl<'p> Walk<'p> {
    pub(super) fn new(plan: &'p Plan, work: &'p mut Work) -> Self {
        Self { plan, work, coerced: HashMap::new(), valid: HashMap::new(), made: Vec::new() }
    }

    /// A value that lives as long as the walk.
    pub(super) fn keep(&mut self, value: Value) -> Rc<Value> {
        let value = Rc::new(value);
        self.made.push(Rc::clone(&value));
        value
    }

    /// Whether a value fits a node as it is.
    pub(super) fn is_valid(&mut self, id: NodeId, value: &Value) -> bool {
        if !self.work.spend(1) {
            return false;
        }
        let plan = self.plan;
        let node = &plan[id];
        if value.is_null() && node.nullable {
            return true;
        }
        let fits = match (&node.kind, value) {
            (Kind::Reference(definition), _) => {
                let met = (*definition, std::ptr::from_ref(value));
                if let Some(known) = self.valid.get(&met) {
                    return *known;
                }
                let valid = self.is_valid(*definition, value);
                self.valid.insert(met, valid);
                valid
            }
            (Kind::Any | Kind::Enum { .. }, _) => true,
            (Kind::Scalar(scalar), value) => is_of_type(*scalar, value),
            (Kind::All(parts), _) => parts.iter().all(|part| self.is_valid(*part, value)),
            (Kind::Union(union), _) => {
                let fitting = self.members_that_fit(union, value);
                fitting == 1 || fitting > 1 && !union.exactly_one
            }
            (Kind::List(items) | Kind::Set(items), Value::Array(values)) => {
                self.inside(|walk| values.iter().all(|value| walk.is_valid(*items, value)))
            }
            (Kind::Tuple(items), Value::Array(values)) => {
                self.inside(|walk| items.iter().zip(values).all(|(item, value)| walk.is_valid(*item, value)))
            }
            (Kind::Object(object), Value::Object(values)) => self.inside(|walk| {
                object.required.iter().all(|name| object.has(name, |name| values.contains_key(name)))
                    && values.iter().all(|(name, value)| {
                        let mut nodes = object.nodes_of(name);
                        nodes.as_mut().is_some_and(|nodes| nodes.all(|node| walk.is_valid(node, value)))
                    })
            }),
            _ => false,
        };
        fits && node.rules.permit(value)
    }

    /// How many members of a union a value fits as it is; not more than need to be known.
    pub(super) fn members_that_fit(&mut self, union: &Union, value: &Value) -> usize {
        let enough = if union.exactly_one { 2 } else { 1 };
        let members = self.members(union, value);
        members.into_iter().filter(|member| self.is_valid(*member, value)).take(enough).count()
    }

    /// Runs `walk` one level deeper; false if that is too deep.
    pub(super) fn inside(&mut self, walk: impl FnOnce(&mut Self) -> bool) -> bool {
        let done = self.work.enter() && walk(self);
        self.work.leave();
        done
    }

    /// The members of a union that a value may be of, by their constants.
    pub(super) fn members(&mut self, union: &Union, value: &Value) -> Vec<NodeId> {
        union.by_constant(value).unwrap_or_else(|| {
            let members = union.members.iter().copied();
            members.filter(|member| self.shape(*member, value) != Shape::Other).collect()
        })
    }

    /// What the constants of a member say of a value. It looks at nothing that is deeper in the value.
    pub(super) fn shape(&mut self, member: NodeId, value: &Value) -> Shape {
        let plan = self.plan;
        if !self.work.spend(1) {
            return Shape::Other;
        }
        match (&plan[member].kind, value) {
            (Kind::Reference(definition), _) => self.shape(*definition, value),
            (Kind::All(parts), _) => {
                let shapes: Vec<Shape> = parts.iter().map(|part| self.shape(*part, value)).collect();
                let any = |shape| shapes.contains(&shape).then_some(shape);
                any(Shape::Other).or_else(|| any(Shape::Meant)).unwrap_or(Shape::Unknown)
            }
            (Kind::Object(object), Value::Object(values)) => {
                if let Some(key) = object.only_key() {
                    let is_it = values.len() == 1 && values.contains_key(key);
                    return if is_it { Shape::Meant } else { Shape::Other };
                }
                let mut constants = object.constants.iter();
                let fits = constants.all(|name| {
                    let value = values.get(name);
                    value.is_some_and(|value| {
                        object.properties.get(name).is_some_and(|id| self.is_choice(*id, value))
                    })
                });
                match (fits, object.constants.is_empty()) {
                    (false, _) => Shape::Other,
                    (true, true) => Shape::Unknown,
                    (true, false) => Shape::Meant,
                }
            }
            // No object becomes one of these.
            (Kind::Scalar(_) | Kind::List(_) | Kind::Set(_) | Kind::Tuple(_), Value::Object(_)) => {
                Shape::Other
            }
            (Kind::Enum { permitted, .. }, Value::Object(_)) if !permitted.contains(value) => Shape::Other,
            _ => Shape::Unknown,
        }
    }

    fn is_choice(&self, id: NodeId, value: &Value) -> bool {
        match &self.plan[id].kind {
            Kind::Enum { permitted, scalar } => super::coercion::choice(permitted, *scalar, value).is_some(),
            _ => true,
        }
    }
}

/// Whether a value is of a type as JSON Schema sees it: to it 1.0 is an integer.
fn is_of_type(scalar: Scalar, value: &Value) -> bool {
    match scalar {
        Scalar::Bool => value.is_boolean(),
        Scalar::Integer => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        Scalar::Number => value.is_number(),
        Scalar::Text | Scalar::DateTime => value.is_string(),
        Scalar::Null => value.is_null(),
    }
}
