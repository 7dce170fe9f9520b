//! Statements of many rows.
//!
//! A statement is prepared once for each number of rows that it is run with. These numbers are powers of two, so
//! there are few of them.

use sqlx::mysql::MySql;
use sqlx::{Encode, QueryBuilder, Type};

/// Cuts rows into portions, each for one statement: a power of two rows of together at most `most` bytes, or a
/// single row that is larger.
pub(super) fn portions<T>(mut rows: &[T], most: usize, bytes: impl Fn(&T) -> usize) -> Vec<&[T]> {
    let mut portions = Vec::new();
    while !rows.is_empty() {
        let mut sum = 0;
        let fit = rows.iter().take_while(|row| {
            sum += bytes(row);
            sum <= most
        });
        let (portion, rest) = rows.split_at(1 << fit.count().max(1).ilog2());
        portions.push(portion);
        rows = rest;
    }
    portions
}

/// Adds `a, b, c, c` for `a, b, c`: a repeated value does not change what `IN` finds.
pub(super) fn push_list<T>(query: &mut QueryBuilder<MySql>, values: impl IntoIterator<Item = T>)
where
    T: Copy + for<'q> Encode<'q, MySql> + Type<MySql>,
{
    let mut list = query.separated(", ");
    let (mut count, mut latest) = (0_usize, None);
    for value in values {
        list.push_bind(value);
        (count, latest) = (count + 1, Some(value));
    }
    for value in std::iter::repeat_n(latest, count.next_power_of_two() - count).flatten() {
        list.push_bind(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn portions_are_powers_of_two_and_fit() {
        let lengths = |rows: &[usize], most| -> Vec<usize> {
            portions(rows, most, |bytes| *bytes).into_iter().map(<[_]>::len).collect()
        };
        assert_eq!(lengths(&[1; 13], 100), [8, 4, 1]);
        assert_eq!(lengths(&[1; 13], 3), [2, 2, 2, 2, 2, 2, 1]);
        assert_eq!(lengths(&[5, 1, 1], 3), [1, 2], "one that does not fit goes alone");
        assert!(lengths(&[], 3).is_empty());
    }

    #[test]
    fn lists_are_filled_up() {
        let sql = |values: &[i64]| {
            let mut query = QueryBuilder::new("");
            push_list(&mut query, values.iter().copied());
            query.into_string()
        };
        assert_eq!(sql(&[1]), "?");
        assert_eq!(sql(&[1, 2, 3]), "?, ?, ?, ?");
        assert_eq!(sql(&[1, 2, 3, 4, 5]).matches('?').count(), 8);
    }
}
