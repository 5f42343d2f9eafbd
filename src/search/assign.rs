//! Which observation is which candidate: the assignment of least cost, one to one.

/// Beyond this many rows times columns a group is assigned greedily.
const MAX_DENSE: usize = 96 * 96;

/// A pair that may be one, with its cost, which is below the gate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pair {
    pub(super) candidate: usize,
    pub(super) observation: usize,
    pub(super) cost: f64,
}

/// The one-to-one choice of pairs that minimises the sum of costs, where leaving a pair out costs `gate`.
/// Groups that share nothing are solved apart, each exactly (Kuhn 1955, in the form of Jonker and Volgenant
/// with potentials). Sorted by candidate.
pub(super) fn assign(
    pairs: &[Pair],
    candidates: usize,
    observations: usize,
    gate: f64,
) -> Vec<(usize, usize)> {
    // Groups: candidates first, observations behind them.
    let mut root: Vec<usize> = (0..candidates + observations).collect();
    fn find(root: &mut [usize], mut x: usize) -> usize {
        while root[x] != x {
            root[x] = root[root[x]];
            x = root[x];
        }
        x
    }
    for pair in pairs {
        let (a, b) = (find(&mut root, pair.candidate), find(&mut root, candidates + pair.observation));
        root[a.max(b)] = a.min(b);
    }
    let mut groups: std::collections::BTreeMap<usize, Vec<Pair>> = std::collections::BTreeMap::new();
    for pair in pairs {
        groups.entry(find(&mut root, pair.candidate)).or_default().push(*pair);
    }
    let mut out = Vec::new();
    for mut group in groups.into_values() {
        if let [one] = group.as_slice() {
            out.push((one.candidate, one.observation));
            continue;
        }
        let mut rows: Vec<usize> = group.iter().map(|p| p.candidate).collect();
        let mut columns: Vec<usize> = group.iter().map(|p| p.observation).collect();
        for list in [&mut rows, &mut columns] {
            list.sort_unstable();
            list.dedup();
        }
        if rows.len() * columns.len() > MAX_DENSE {
            group.sort_by(|a, b| a.cost.total_cmp(&b.cost).then(a.candidate.cmp(&b.candidate)));
            let (mut taken_c, mut taken_o) =
                (std::collections::BTreeSet::new(), std::collections::BTreeSet::new());
            for pair in group {
                if !taken_c.contains(&pair.candidate) && taken_o.insert(pair.observation) {
                    taken_c.insert(pair.candidate);
                    out.push((pair.candidate, pair.observation));
                }
            }
            continue;
        }
        let n = rows.len().max(columns.len());
        // Gains are negative, what may not be is 0: the same as being left out.
        let mut cost = vec![0.0; n * n];
        for pair in &group {
            let row = rows.binary_search(&pair.candidate).unwrap_or(0);
            let column = columns.binary_search(&pair.observation).unwrap_or(0);
            cost[row * n + column] = (pair.cost - gate).min(0.0);
        }
        for (row, column) in hungarian(&cost, n) {
            if cost[row * n + column] < 0.0 {
                out.push((rows[row], columns[column]));
            }
        }
    }
    out.sort_unstable();
    out
}

/// Row and column of the assignment of least cost of a square matrix.
fn hungarian(cost: &[f64], n: usize) -> Vec<(usize, usize)> {
    // Index 0 stands for none.
    let (mut u, mut v) = (vec![0.0; n + 1], vec![0.0; n + 1]);
    let mut row_of = vec![0usize; n + 1];
    let mut way = vec![0usize; n + 1];
    for row in 1..=n {
        row_of[0] = row;
        let mut column = 0;
        let mut least = vec![f64::INFINITY; n + 1];
        let mut used = vec![false; n + 1];
        loop {
            used[column] = true;
            let (at, mut delta, mut next) = (row_of[column], f64::INFINITY, 0);
            for j in 1..=n {
                if used[j] {
                    continue;
                }
                let reduced = cost[(at - 1) * n + j - 1] - u[at] - v[j];
                if reduced < least[j] {
                    (least[j], way[j]) = (reduced, column);
                }
                if least[j] < delta {
                    (delta, next) = (least[j], j);
                }
            }
            for j in 0..=n {
                if used[j] {
                    u[row_of[j]] += delta;
                    v[j] -= delta;
                } else {
                    least[j] -= delta;
                }
            }
            column = next;
            if row_of[column] == 0 {
                break;
            }
        }
        while column != 0 {
            let before = way[column];
            row_of[column] = row_of[before];
            column = before;
        }
    }
    (1..=n).map(|j| (row_of[j] - 1, j - 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pairs(costs: &[&[f64]], gate: f64) -> Vec<Pair> {
        let mut out = Vec::new();
        for (candidate, row) in costs.iter().enumerate() {
            for (observation, &cost) in row.iter().enumerate() {
                if cost < gate {
                    out.push(Pair { candidate, observation, cost });
                }
            }
        }
        out
    }

    #[test]
    fn the_sum_counts_and_not_the_nearest_first() {
        // Nearest first would take (0, 0) and leave 1 without any.
        let costs: [&[f64]; 2] = [&[1.0, 2.0], &[2.0, 20.0]];
        assert_eq!(assign(&pairs(&costs, 10.0), 2, 2, 10.0), [(0, 1), (1, 0)]);
        assert!(assign(&[], 3, 2, 10.0).is_empty());
    }

    /// All ways to choose pairs, for comparison.
    fn best(costs: &[Vec<f64>], row: usize, taken: u32, gate: f64) -> f64 {
        if row == costs.len() {
            return 0.0;
        }
        let mut least = best(costs, row + 1, taken, gate);
        for (column, cost) in costs[row].iter().enumerate() {
            if taken >> column & 1 == 0 && *cost < gate {
                least = least.min(cost - gate + best(costs, row + 1, taken | 1 << column, gate));
            }
        }
        least
    }

    proptest! {
        #[test]
        fn it_is_the_best_there_is(costs in proptest::collection::vec(proptest::collection::vec(0.0f64..20.0, 4), 1..6)) {
            let rows: Vec<&[f64]> = costs.iter().map(Vec::as_slice).collect();
            let chosen = assign(&pairs(&rows, 10.0), costs.len(), 4, 10.0);
            let sum: f64 = chosen.iter().map(|(c, o)| costs[*c][*o] - 10.0).sum();
            prop_assert!((sum - best(&costs, 0, 0, 10.0)).abs() < 1e-9);
            let mut seen = std::collections::BTreeSet::new();
            prop_assert!(chosen.iter().all(|(_, o)| seen.insert(*o)));
        }
    }
}
