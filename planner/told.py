"""A solved case with what every supply carried: what all parts of the plan's telling start from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.assemble import Case
from planner.attribution import Carried, carried, present_hours
from planner.problem import Array
from planner.solve import Solution


@dataclass(frozen=True, eq=False)
class Told:
    """Arrays over joined blocks (`weight_h`, `present_h`: hours, as they are and discounted) and over classes."""

    case: Case
    solution: Solution
    done: Carried
    weight_h: Array
    present_h: Array
    input_per_request: Array
    output_per_request: Array

    @property
    def tokens_per_request(self) -> Array:
        """Input and output together."""
        total: Array = self.input_per_request + self.output_per_request
        return total


def solved(case: Case, solution: Solution) -> Told:
    """The case with its solution, attributed."""
    shapes = [shape for workload in case.workloads for shape in workload.shapes.classes]
    return Told(
        case,
        solution,
        carried(case, solution),
        solution.blocks.weight_h,
        present_hours(solution),
        np.array([shape.input_tokens for shape in shapes]),
        np.array([shape.output_tokens for shape in shapes]),
    )
