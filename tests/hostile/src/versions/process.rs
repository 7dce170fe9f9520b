//! Versions that end their process.

use std::hint::black_box;

use bk_plugin_kit::prelude::*;

use super::{Harm, version};

/// 1.0.0-aborts: aborts the process.
pub struct Aborts;

impl Harm for Aborts {
    const META: Meta = version("1.0.0-aborts");

    async fn harm(&self) -> Result<Next> {
        std::process::abort()
    }
}

/// 1.0.0-exits: exits the process, and says that all is well.
pub struct Exits;

impl Harm for Exits {
    const META: Meta = version("1.0.0-exits");

    async fn harm(&self) -> Result<Next> {
        std::process::exit(0)
    }
}

/// 1.0.0-overflows-stack: a recursion without an end.
pub struct OverflowsStack;

impl Harm for OverflowsStack {
    const META: Meta = version("1.0.0-overflows-stack");

    async fn harm(&self) -> Result<Next> {
        black_box(depth(0));
        Ok(Next::done())
    }
}

fn depth(level: u64) -> u64 {
    let frame = black_box([level; 128]);
    if level == u64::MAX { 0 } else { 1 + depth(frame[0] + 1) }
}

/// 1.0.0-allocates: takes memory. It stops at 2 GiB, for the sake of machines without a limit.
pub struct Allocates;

impl Harm for Allocates {
    // Without the short limit of the others: it is to come that far.
    const META: Meta = Meta::version("1.0.0-allocates");

    async fn harm(&self) -> Result<Next> {
        const BLOCK: usize = 16 * 1024 * 1024;
        const PAGE: usize = 4096;
        let mut taken = Vec::new();
        for _ in 0..128 {
            let mut block = vec![0_u8; BLOCK];
            // Written to, because a page is taken when it is used.
            block.iter_mut().step_by(PAGE).for_each(|byte| *byte = 1);
            taken.push(block);
        }
        Ok(Next::done())
    }
}
