//! Errors of the program in the words of the server.

use sinopia_planner::Error as PlanError;
use sinopia_server::{Fault, Refusal};

use crate::cli::failure;

/// Why there is no plan. A planner that cannot do what was asked, or gave nothing usable, is another matter than one that cannot be reached.
pub(super) fn unplanned(error: PlanError) -> Refusal {
    let fault = match &error {
        PlanError::FixedCanvas { .. } => Fault::Request,
        error if error.has_no_plan() => Fault::NoPlan,
        error if error.is_cancelled() => Fault::Cancelled,
        _ => Fault::Planner,
    };
    Refusal { fault, ..to_refusal(&error.into()) }
}

pub(super) fn refused(message: impl Into<String>) -> Refusal {
    Refusal::new(Fault::Request, message)
}

/// An error of the program in the words of the server.
pub(super) fn to_refusal(error: &anyhow::Error) -> Refusal {
    if let Some(refusal) = error.downcast_ref::<Refusal>() {
        return refusal.clone();
    }
    let of_planner = error.chain().find_map(failure::planner_error);
    let fault = match of_planner {
        _ if failure::is_cancelled(error) => Fault::Cancelled,
        Some(_) => Fault::Planner,
        None if failure::is_refused(error) => Fault::Request,
        None => Fault::Engine,
    };
    let (message, hint) = failure::in_one_line(error);
    // The command line's hints name flags that a request has not.
    let hint = match of_planner {
        Some(PlanError::Unusable { .. }) => Some("ask again or in other words, or draw the boxes".to_owned()),
        Some(PlanError::OutOfTime { .. }) => {
            Some("ask again; the server's `--plan-timeout` allows more time".to_owned())
        }
        _ => hint,
    };
    Refusal { fault, message, hint }
}
