use std::{collections::HashSet, time::Instant};

use proptest::prelude::*;

use super::{Cycle, Graph, Links, Order};
use crate::StepIndex;

fn steps(list: &[u32]) -> Vec<StepIndex> {
    list.iter().copied().map(StepIndex).collect()
}

fn needing(list: &[&[u32]]) -> Vec<Vec<StepIndex>> {
    list.iter().map(|needs| steps(needs)).collect()
}

#[test]
fn a_step_follows_the_one_above_unless_it_says_what_it_needs() {
    let said = [None, None, Some(vec![]), Some(steps(&[0, 2, 0]))];
    let links: Vec<_> = said.into_iter().map(|needs| Links { needs, ..Links::default() }).collect();
    let graph = Graph::resolve(&links, Order::Listed).unwrap();
    assert_eq!(graph.needs, needing(&[&[], &[0], &[], &[0, 2]]));
    let graph = Graph::resolve(&links, Order::Graph).unwrap();
    assert_eq!(graph.needs, needing(&[&[], &[], &[], &[0, 2]]));
}

#[test]
fn a_need_may_be_listed_below() {
    let graph = Graph::new(needing(&[&[2], &[], &[1]])).unwrap();
    assert_eq!(graph.plan_order(), steps(&[1, 2, 0]));
    assert_eq!(graph.ancestors(StepIndex(0)), steps(&[1, 2]));
}

#[test]
fn a_cycle_names_its_steps_and_no_others() {
    let cycle = Graph::new(needing(&[&[1], &[2], &[3], &[1], &[]])).unwrap_err();
    assert_eq!(cycle, Cycle { steps: steps(&[1, 2, 3]) });
    assert_eq!(Graph::new(needing(&[&[0]])).unwrap_err().steps, steps(&[0]));
}

#[test]
fn data_makes_edges_in_graph_order_only() {
    let give = |gives| Links { gives, ..Links::default() };
    let links = [
        Links { takes: vec!["late", "none"], ..Links::default() },
        give(vec!["df"]),
        Links { gives: vec!["df"], takes: vec!["df"], ..Links::default() },
        Links { takes: vec!["df"], ..Links::default() },
        Links { needs: Some(steps(&[1])), takes: vec!["df"], ..Links::default() },
        give(vec!["late"]),
    ];
    let graph = Graph::resolve(&links, Order::Graph).unwrap();
    assert_eq!(graph.needs, needing(&[&[5], &[], &[1], &[2], &[1], &[]]));
    let feeds = graph.feeds(&links);
    assert_eq!(feeds[0], [Some(StepIndex(5)), None]);
    assert_eq!((feeds[3][0], feeds[4][0]), (Some(StepIndex(2)), Some(StepIndex(1))));
    let listed = Graph::resolve(&links, Order::Listed).unwrap();
    assert_eq!(listed.feeds(&links)[0], [None, None]);
}

/// A chain, and a chain beside which one step stands alone, so that the short cut for lines is out.
#[test]
fn ten_thousand_steps_take_no_time() {
    let names: Vec<String> = (0..10_000).map(|i| format!("x{i}")).collect();
    for broken in [false, true] {
        let mut links: Vec<_> =
            names.iter().map(|name| Links { gives: vec![name], ..Links::default() }).collect();
        for i in 1..links.len() {
            links[i].takes = vec![&names[i - 1], "x0"];
        }
        if broken {
            links[9_999].needs = Some(vec![]);
        }
        let start = Instant::now();
        let graph = Graph::resolve(&links, Order::Listed).unwrap();
        let feeds = graph.feeds(&links);
        assert!(start.elapsed().as_millis() < 500, "{:?}", start.elapsed());
        assert_eq!(feeds[5_000], [Some(StepIndex(4_999)), Some(StepIndex(0))]);
        assert_eq!(feeds[9_999][0].is_none(), broken);
    }
}

const NAMES: [&str; 3] = ["a", "b", "c"];

fn some_names() -> impl Strategy<Value = Vec<&'static str>> {
    proptest::sample::subsequence(&NAMES[..], 0..=NAMES.len())
}

fn some_links() -> impl Strategy<Value = Vec<Links<'static>>> {
    let step = |len: u32| {
        let needs = proptest::option::of(proptest::collection::vec(0..len, 0..3));
        (needs, some_names(), some_names()).prop_map(|(needs, gives, takes)| Links {
            needs: needs.map(|list| steps(&list)),
            gives,
            takes,
        })
    };
    (1u32..9).prop_flat_map(move |len| {
        proptest::collection::vec(step(len), usize::try_from(len).unwrap())
    })
}

/// Every ancestor, by going round until nothing is added.
fn naive_ancestors(graph: &Graph, step: StepIndex) -> HashSet<StepIndex> {
    let mut all: HashSet<_> = graph.needs(step).iter().copied().collect();
    loop {
        let more: Vec<_> = all.iter().flat_map(|s| graph.needs(*s).iter().copied()).collect();
        let before = all.len();
        all.extend(more);
        if all.len() == before {
            return all;
        }
    }
}

proptest! {
    #[test]
    fn graphs_are_as_the_naive_model_says(links in some_links(), by_data in any::<bool>()) {
        let order = if by_data { Order::Graph } else { Order::Listed };
        match Graph::resolve(&links, order) {
            Err(cycle) => {
                let said = |i: u32| links[usize::try_from(i).unwrap()].needs.clone();
                for (step, next) in cycle.steps.iter().zip(cycle.steps.iter().cycle().skip(1)) {
                    let listed = order == Order::Listed && step.0 == next.0 + 1;
                    let needs = said(step.0);
                    let ok = needs.as_ref().is_some_and(|needs| needs.contains(next));
                    prop_assert!(ok || by_data || (listed && needs.is_none()));
                }
            }
            Ok(graph) => {
                let rank = |s: StepIndex| graph.plan_order().iter().position(|o| *o == s).unwrap();
                let feeds = graph.feeds(&links);
                for (i, step) in links.iter().enumerate() {
                    let own = StepIndex(u32::try_from(i).unwrap());
                    let above = naive_ancestors(&graph, own);
                    prop_assert!(!above.contains(&own) && above.iter().all(|s| rank(*s) < rank(own)));
                    prop_assert_eq!(&above, &graph.ancestors(own).into_iter().collect());
                    for (name, fed) in step.takes.iter().zip(&feeds[i]) {
                        let gives = |s: &&StepIndex| links[usize::try_from(s.0).unwrap()].gives.contains(name);
                        let best = above.iter().filter(gives).max_by_key(|s| rank(**s));
                        prop_assert_eq!(best, fed.as_ref());
                    }
                }
            }
        }
    }
}
