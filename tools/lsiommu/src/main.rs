// SPDX-License-Identifier: GPL-2.0

//! The program. Everything is in the library, where tests reach it.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser;
use lsiommu::{cli::Arguments, run, Failure};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut out = io::stdout().lock();
    let result = run(&arguments, &mut out).and_then(|status| {
        out.flush()?;
        Ok(status)
    });
    match result {
        Ok(status) => status.into(),
        // The reader of our output, such as head, has seen enough.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("lsiommu: {failure}");
            ExitCode::from(2)
        }
    }
}
