//! What is known of the messages of a selection.

use bk_plugin_core::queue::Selection;

/// Selections that something is known of at most. A worker has two receivers, and what they ask for changes with its
/// free slots.
const MOST: usize = 16;

/// Something known of each of the latest selections.
#[derive(Debug)]
pub(crate) struct BySelection<T>(Vec<(Selection, T)>);

impl<T> BySelection<T> {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn get(&self, selection: &Selection) -> Option<&T> {
        self.0.iter().find(|(known, _)| known == selection).map(|(_, value)| value)
    }

    /// Notes `value`, and forgets the selection that was noted least lately if there are too many.
    pub(crate) fn set(&mut self, selection: &Selection, value: T) {
        let known = self.0.iter().position(|(known, _)| known == selection);
        let forgotten = known.or((self.0.len() == MOST).then_some(0));
        forgotten.map(|position| self.0.remove(position));
        self.0.push((selection.clone(), value));
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&Selection, &mut T)> {
        self.0.iter_mut().map(|(selection, value)| (&*selection, value))
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use bk_plugin_core::message_group::MessageGroup;

    use super::*;

    #[test]
    fn the_latest_selections_are_known() {
        let of = |number: usize| Selection::WakeUpsOf(vec![MessageGroup::of_version(&number.to_string())]);
        let mut known = BySelection::new();
        for number in 0..MOST {
            known.set(&of(number), number);
        }
        known.set(&of(0), 100);
        known.set(&Selection::WakeUps, 200);
        assert_eq!((known.get(&of(0)), known.get(&of(1)), known.get(&of(2))), (Some(&100), None, Some(&2)));
        assert_eq!(known.get(&Selection::WakeUps), Some(&200));
    }
}
