"""`planner`: forecast + curves + prices -> a proven plan and its report. Each command is parse -> call -> print."""

from __future__ import annotations

import os
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Literal

import typer

from hardware_profiles.faults import Fault, InputError, run_cli

app = typer.Typer(
    name="planner",
    help="The cheapest mix of owned GPUs, rented GPUs and APIs for a forecast, with a proof.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

_FAULTY = 3
"""Status of a plan that its own check refuses; 1 is bad input, 2 a wrong command line."""

ForecastPath = Annotated[Path, typer.Argument(help="CSV: timestamp, workload, requests, input_tokens, output_tokens.")]
PlanPath = Annotated[Path | None, typer.Option("--plan", help="plan.toml; default: the one beside the forecast.")]
Model = Annotated[str | None, typer.Option(help="Model of workloads for which plan.toml names none.")]
Profiles = Annotated[Path | None, typer.Option(help="Your own curves and facts; they win over the shipped ones.")]
Capacity = Annotated[
    Literal["low", "mid", "high"] | None,
    typer.Option(help="End of the curves' uncertainty to plan with; overrules `capacity` of plan.toml."),
]
Today = Annotated[str | None, typer.Option(help="Date of the review, YYYY-MM-DD; default: today.")]


@app.command()
def solve(
    forecast: ForecastPath,
    plan: PlanPath = None,
    model: Model = None,
    profiles: Profiles = None,
    name: Annotated[str | None, typer.Option(help="Name of the review; default: quarter and forecast.")] = None,
    reports: Annotated[Path, typer.Option(help="Folder in which the review's folder is written.")] = Path("reports"),
    gap: Annotated[float, typer.Option(min=0.0, max=1.0, help="Gap to prove, a share.")] = 0.005,
    time_limit: Annotated[
        float,
        typer.Option(
            min=1.0,
            help="Seconds of one search for a plan. It is made again where offers tie hours together or work is left "
            "out; comparing strategies takes up to as long again.",
        ),
    ] = 60.0,
    what_if: Annotated[bool, typer.Option("--what-if", help="Also move the main figures and solve again.")] = False,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Also solve again without each supply and rule, to say what each is worth."),
    ] = False,
    last: Annotated[Path | None, typer.Option(help="Folder of the last review, to say what changed.")] = None,
    actuals: Annotated[
        list[Path] | None, typer.Option(help="With --last: usage as CSV, or a bill as FOCUS export; may be repeated.")
    ] = None,
    capacity: Capacity = None,
    today: Today = None,
) -> None:
    """Find the cheapest plan, prove how good it is, and write the review's folder.

    Ends with status 3 where the plan fails its own check: it is written to be looked at, not to be signed.
    """
    from planner.review import Wanted, review
    from planner.screen import Screen, print_review

    if actuals and last is None:
        raise InputError(Fault("needs the plan to compare with", "add --last reports/<review>", column="--actuals"))
    since = tuple(actuals or ())
    day = _day(today)
    wanted = Wanted(
        forecast, plan, model, profiles, gap, time_limit, day, name, reports, what_if, explain, last, since, capacity
    )
    with Screen() as screen:
        made = review(wanted, progress=screen.progress, step=screen.step)
    print_review(made)
    if made.plan.checks:
        raise typer.Exit(_FAULTY)


@app.command()
def check(
    forecast: ForecastPath,
    plan: PlanPath = None,
    model: Model = None,
    profiles: Profiles = None,
    capacity: Capacity = None,
) -> None:
    """Read everything that `solve` would read and say what was understood; nothing is solved or written."""
    from planner.inputs import check_inputs
    from planner.screen import print_checked

    print_checked(check_inputs(forecast, plan_path=plan, model=model, profiles=profiles, capacity=capacity))


@app.command()
def report(review: Annotated[Path, typer.Argument(help="A review's folder, with plan.json and hours.csv.")]) -> None:
    """Write a review's page, Markdown, spreadsheet, tables and pictures anew; nothing is solved."""
    from planner.report import rewrite_review

    for path in rewrite_review(review):
        typer.echo(f"wrote {path}")


@app.command()
def init(folder: Annotated[Path, typer.Argument(help="Folder to write forecast.csv and plan.toml into.")]) -> None:
    """Write a commented starter forecast and plan.toml."""
    from planner.starter import write_starter

    for path in write_starter(folder):
        typer.echo(f"wrote {path}")


def _day(text: str | None) -> date:
    if text is None:
        return datetime.now().astimezone().date()
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InputError(Fault("is no date", "write YYYY-MM-DD", None, None, "--today", text)) from None


def main() -> None:
    """Entry point of the console script; a thread for many small matrices costs less than it takes to start two."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    run_cli(app)


if __name__ == "__main__":
    main()
