"""`bench`: measures what a GPU really delivers under vLLM. Each command is parse -> call -> print."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hardware_profiles.faults import run_cli

app = typer.Typer(
    name="bench",
    help="What a GPU really delivers under vLLM: measured, judged and written as a curve.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
CURVES = Path("hardware_profiles/curves")

RunFolder = Annotated[Path, typer.Argument(help="Folder of a run: .bench/<name>.")]
CurveFile = Annotated[Path, typer.Argument(help="A curve file.")]
Out = Annotated[Path, typer.Option(help="Folder in which the curve is written.")]


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": False})
def run(
    context: typer.Context,
    model: Annotated[str, typer.Option(help="Our name, a hub repository, a folder, or `tiny`.")],
    gpu: Annotated[str, typer.Option(help="The GPU under test, or `cpu`.")],
    gpus: Annotated[int, typer.Option(min=1, help="How many of it.")] = 1,
    tensor_parallel: Annotated[int | None, typer.Option(min=1, help="Default: all GPUs.")] = None,
    pipeline_parallel: Annotated[int, typer.Option(min=1, help="Stages of layers, each on its own GPUs.")] = 1,
    data_parallel: Annotated[int, typer.Option(min=1, help="Copies behind one address.")] = 1,
    precision: Annotated[str | None, typer.Option(help="Of the weights; default: as the server says.")] = None,
    weights: Annotated[str, typer.Option(help="`real`, or `dummy` for random ones.")] = "real",
    model_path: Annotated[str | None, typer.Option(help="Folder or hub repository to load instead.")] = None,
    endpoint: Annotated[str | None, typer.Option(help="Measure this server instead of starting one.")] = None,
    api: Annotated[str, typer.Option(help="`completions` (token ids) or `chat`.")] = "completions",
    key_env: Annotated[str | None, typer.Option(help="Environment variable with the endpoint's key.")] = None,
    limit_field: Annotated[
        str, typer.Option(help="The body's output limit: `max_tokens` or, chat, `max_completion_tokens`.")
    ] = "max_tokens",
    stream_options: Annotated[bool, typer.Option(help="Ask for `usage` by this field, which some refuse.")] = True,
    body: Annotated[list[str] | None, typer.Option(help="NAME=VALUE, a further field of each request.")] = None,
    vocab_size: Annotated[int | None, typer.Option(min=2, help="Token ids to send; default: from our facts.")] = None,
    server_python: Annotated[str, typer.Option(help="Python of the environment that has vLLM.")] = "python3",
    server_env: Annotated[list[str] | None, typer.Option(help="NAME=VALUE, or NAME of a variable to hand on.")] = None,
    start_timeout: Annotated[float, typer.Option(min=1, help="Seconds the server may take to start.")] = 900,
    shape: Annotated[
        list[str] | None, typer.Option(help="1024/256, =1024/256, 900-1100/200-300, lognormal:..., csv:F, trace:F.")
    ] = None,
    cached_share: Annotated[float, typer.Option(min=0, max=0.99, help="Of the input, found in the cache.")] = 0.0,
    max_load: Annotated[int, typer.Option(min=1, help="Largest number of requests in flight.")] = 1024,
    load: Annotated[list[int] | None, typer.Option(min=1, help="Hold these loads, not 1, 2, 4, ...")] = None,
    rate_search: Annotated[bool, typer.Option(help="Search the highest Poisson rate at the SLO.")] = True,
    rate: Annotated[list[float] | None, typer.Option(min=0.0, help="Measure this Poisson rate; no search.")] = None,
    arrivals: Annotated[str, typer.Option(help="Of the open loop: poisson, constant or gamma:CV.")] = "poisson",
    turns: Annotated[str, typer.Option(help="Conversations of so many turns, like 4 or 2-6; closed loop only.")] = "1",
    think_seconds: Annotated[float, typer.Option(min=0, help="Mean pause of a user between two requests.")] = 0.0,
    ttft: Annotated[float | None, typer.Option(min=0.0, help="SLO: seconds to the first token.")] = 2.0,
    tpot: Annotated[float | None, typer.Option(min=0.0, help="SLO: seconds per further token.")] = 0.03,
    e2e: Annotated[float | None, typer.Option(min=0.0, help="SLO: seconds to the last token.")] = None,
    attainment: Annotated[float, typer.Option(min=0.0, max=1.0, help="SLO: share that meets all limits.")] = 0.95,
    stage_seconds: Annotated[
        float | None, typer.Option(min=1, help="A stage's longest load; default: 120, or as requests need.")
    ] = None,
    warm_up_seconds: Annotated[float, typer.Option(min=0, help="Not counted, at each stage's start.")] = 10,
    width: Annotated[float, typer.Option(min=0, max=1, help="A stage ends when known this well; 0: never.")] = 0.05,
    silence_seconds: Annotated[
        float | None,
        typer.Option(min=0.1, help="Without a byte from the server requests fail; default: 300 and 1 per 100 tokens."),
    ] = None,
    rate_requests: Annotated[int, typer.Option(min=1, help="Requests an open-loop stage needs.")] = 1000,
    rate_stages: Annotated[int, typer.Option(min=1, help="Open-loop stages of a shape, at most.")] = 16,
    seed: int = 0,
    workers: Annotated[int, typer.Option(min=1, help="Client processes.")] = 1,
    remote_workers: Annotated[int, typer.Option(min=0, help="More of them, on other machines: `bench worker`.")] = 0,
    bind: Annotated[str, typer.Option(help="HOST:PORT where those join; no password.")] = "127.0.0.1:5557",
    raw: Annotated[Path | None, typer.Option(help="Folder for raw records; default: .bench/<name>.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Replace a run that stands in --raw.")] = False,
    out: Out = CURVES,
    profiles: Annotated[Path | None, typer.Option(help="Your own facts; they win over the shipped ones.")] = None,
) -> None:
    """Measure a model on a GPU: start vLLM (arguments after `--` go to it), sweep its load, write the curve."""
    from bench.asked import Asked
    from bench.live import run_live

    asked = Asked(
        model=model,
        gpu=gpu,
        gpu_count=gpus,
        tensor_parallel=tensor_parallel,
        pipeline_parallel=pipeline_parallel,
        data_parallel=data_parallel,
        precision=precision,
        weights=weights,
        model_path=model_path,
        endpoint=endpoint,
        api=api,
        key_env=key_env,
        limit_field=limit_field,
        stream_options=stream_options,
        body=tuple(body or ()),
        vocab_size=vocab_size,
        server_python=server_python,
        server_args=tuple(context.args),
        server_env=tuple(server_env or ()),
        start_timeout_s=start_timeout,
        shapes=tuple(shape or ()),
        cached_share=cached_share,
        max_load=max_load,
        loads=tuple(load or ()),
        rate_search=rate_search,
        rates_per_s=tuple(rate or ()),
        arrivals=arrivals,
        turns=turns,
        think_s=think_seconds,
        ttft_s=ttft,
        tpot_s=tpot,
        e2e_s=e2e,
        attainment=attainment,
        stage_s=stage_seconds,
        warm_up_s=warm_up_seconds,
        width=width or None,
        silence_s=silence_seconds,
        rate_requests=rate_requests,
        rate_stages=rate_stages,
        seed=seed,
        workers=workers,
        remote_workers=remote_workers,
        bind=bind,
        profiles=profiles,
    )
    run_live(asked, raw, out, fresh=fresh)


@app.command()
def resume(folder: RunFolder, out: Out = CURVES) -> None:
    """Go on with a run that was interrupted; finished stages stay as they are."""
    from bench.live import resume_live

    resume_live(folder, out)


@app.command()
def worker(
    master: Annotated[str, typer.Option(help="HOST:PORT of the `bench run --remote-workers N --bind HOST:PORT`.")],
    key_env: Annotated[str | None, typer.Option(help="Environment variable with the endpoint's key.")] = None,
    stages: Annotated[int | None, typer.Option(min=1, help="End after so many stages; default: never.")] = None,
) -> None:
    """Lend this machine's client to a run on another machine, until Ctrl-C."""
    from bench.live import worker_live

    worker_live(master, key_env=key_env, stages=stages)


@app.command()
def selfcheck(
    workers: Annotated[int, typer.Option(min=1, help="Client processes.")] = 1,
    error_ms: Annotated[float, typer.Option(min=0.01, help="Error of TTFT and gaps that is allowed, p99.")] = 1.0,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer levels, shorter.")] = False,
    cpu: Annotated[bool, typer.Option("--cpu", help="As runs with --gpu cpu: client on its own cores.")] = False,
) -> None:
    """Find how much this machine's client can take, against a server whose truth is known (about a minute)."""
    from bench.live import selfcheck_live

    selfcheck_live(workers=workers, error_s=error_ms / 1e3, quick=quick, cpu=cpu)


@app.command()
def show(
    curve: CurveFile,
    plot: Annotated[Path | None, typer.Option(help="Also draw it: FILE.png, .svg or .html.")] = None,
    ttft: Annotated[float | None, typer.Option(help="SLO whose knee is told: seconds to the first token.")] = None,
    tpot: Annotated[float | None, typer.Option(help="The same: seconds per further token.")] = None,
    e2e: Annotated[float | None, typer.Option(help="The same: seconds to the last token.")] = None,
    attainment: Annotated[float, typer.Option(help="The same: share of requests that meets all limits.")] = 0.95,
) -> None:
    """Show a curve as a table, and as a picture."""
    from rich.console import Console

    from bench.asked import slo_asked
    from bench.plot import write_plot
    from bench.show import curve_table, knee_lines
    from hardware_profiles.curve import read_curve

    slo = slo_asked(ttft_s=ttft, tpot_s=tpot, e2e_s=e2e, attainment=attainment)
    found = read_curve(curve)
    Console().print(curve_table(found))
    for line in knee_lines(found, slo) if slo.limits else ():
        typer.echo(line)
    if plot is not None:
        write_plot(found, plot, slo)
        typer.echo(f"drawn: {plot}")


@app.command("list")
def list_curves(
    profiles: Annotated[Path | None, typer.Option(help="Your own curves; they win over the shipped ones.")] = None,
) -> None:
    """List the curves at hand: shipped and your own."""
    from rich.console import Console

    from bench.show import library_table
    from hardware_profiles.library import load_curves, user_dir

    Console().print(library_table(load_curves(user_dir(profiles, Path.cwd()))))


@app.command()
def recompute(folder: RunFolder, out: Out = CURVES) -> None:
    """Compute a run's curve again from its raw records; needs no GPU."""
    from rich.console import Console

    from bench.live import print_result
    from bench.run import recompute as compute

    print_result(Console(), compute(folder, out))


@app.command()
def compare(first: CurveFile, second: CurveFile) -> None:
    """Compare two curves level by level: faster, slower or cannot tell."""
    from rich.console import Console

    from bench.compare import comparison_table
    from hardware_profiles.curve import read_curve

    Console().print(comparison_table(read_curve(first), read_curve(second)))


def main() -> None:
    """Entry point of the console script."""
    run_cli(app)


if __name__ == "__main__":
    main()
