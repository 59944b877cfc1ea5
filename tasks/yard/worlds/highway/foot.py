"""The driver of the recording, and the forces on the car.

The driver wants what IDM wants, but sees it late and with noise, and has one foot: it leaves the pedal, the car coasts,
and after the time the foot takes it brakes.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from tasks.yard.worlds.highway.traffic import STEP_S

EGO_MASS_KG, DRAG_AREA_M2, ROLLING = 1250.0, 0.66, 0.012
ENGINE_BRAKE_N = 260.0
GRAVITY = 9.81
GAS, COAST, BRAKE = 0, 1, 2
ALERT_STEPS = 5  # a foot that has left the pedal answers within half a second; before, a driver is surprised
BRAKING_PRESSURE = 0.25  # m/s^2 of braking from which on the brake counts as pressed


def drag_n(speed: float | np.ndarray) -> float | np.ndarray:
    """Air and rolling resistance of the recording car."""
    return 0.6 * DRAG_AREA_M2 * speed**2 + ROLLING * EGO_MASS_KG * GRAVITY


def engine_kw(speed: float) -> float:
    """Full-pedal power: a small engine turns slowly in the top gear, so it has less of it at low speed."""
    return 14.0 + 1.15 * speed


def smooth_noise(rng: np.random.Generator, steps: int, tau_s: float) -> np.ndarray:
    """Ornstein-Uhlenbeck noise of unit variance."""
    keep = np.exp(-STEP_S / tau_s)
    kicks = rng.standard_normal(steps) * np.sqrt(1 - keep**2)
    values, value = np.empty(steps), rng.standard_normal()
    for i in range(steps):
        value = keep * value + kicks[i]
        values[i] = value
    return values


class Foot:
    """The recording driver: one foot, a reaction time, and habits that differ from drive to drive."""

    def __init__(self, rng: np.random.Generator, steps: int) -> None:
        self.rng = rng
        self.state, self.since_s, self.pressure = COAST, 0.0, 0.0
        self.pedal = 0.0
        self.seen = deque([0.0] * round(rng.uniform(1.2, 1.7) / STEP_S))
        self.lift_at, self.press_at = rng.uniform(1.2, 1.4), rng.uniform(1.4, 1.6)
        self.noise = smooth_noise(rng, steps, 2.0) * rng.uniform(0.05, 0.1)
        self.move_s = self.draw_move()
        self.power_kw = 0.0
        self.whim_s = 0.0  # left of a braking that nothing in view explains
        self.rest_s = 0.0  # left of a pause of the foot, likewise

    def draw_move(self) -> float:
        return float(np.clip(0.25 * np.exp(0.4 * self.rng.standard_normal()), 0.1, 0.8))

    def enter(self, state: int) -> None:
        self.state, self.since_s = state, 0.0
        if state == COAST:
            self.move_s = self.draw_move()

    def step(self, demand: float, speed: float, too_fast: bool, slope_n: float, i: int) -> float:
        """From the wanted acceleration to the longitudinal force of pedals in N."""
        self.seen.append(demand)
        surprised = self.seen.popleft()
        wanted = (surprised if self.state == GAS else self.seen[-ALERT_STEPS]) + self.noise[i]
        if self.whim_s > 0:
            self.whim_s -= STEP_S
            wanted = min(wanted, -1.6)
        self.rest_s -= STEP_S
        idle = too_fast or self.rest_s > 0
        self.since_s += STEP_S
        if self.state == GAS and (wanted < -self.lift_at or idle):
            self.enter(COAST)
        elif self.state == COAST and wanted < -self.press_at and self.since_s >= self.move_s:
            self.enter(BRAKE)
        elif self.state == COAST and wanted > -0.6 and not idle and self.since_s >= 0.4:
            self.enter(GAS)
        elif self.state == BRAKE and wanted > -1.0 and self.since_s >= 0.6:
            self.enter(COAST)

        if self.state == GAS:
            wanted = max(wanted, -0.05)  # small excesses are let be: nobody lifts for each of them
        force = EGO_MASS_KG * wanted + drag_n(speed) + slope_n
        power_share = force * max(speed, 3.0) / (1000 * engine_kw(speed))
        target = min(max(power_share, 0.0), 1.0) ** 0.8 if self.state == GAS else 0.0
        # A foot lifts within 0.2 s and presses with care.
        self.pedal += (target - self.pedal) * (STEP_S / (0.45 if target > self.pedal and self.state == GAS else 0.15))
        wanted_brake = min(max(0.8, -1.25 * wanted), 8.0) if self.state == BRAKE else 0.0
        self.pressure += (wanted_brake - self.pressure) * (STEP_S / 0.25)
        drive = self.pedal**1.25 * engine_kw(speed) * 1000 / max(speed, 3.0)
        drag = ENGINE_BRAKE_N if self.pedal < 0.05 else 0.0
        self.power_kw = (drive - drag) * speed / 1000
        return drive - drag - EGO_MASS_KG * self.pressure

    @property
    def braking(self) -> bool:
        return self.pressure > BRAKING_PRESSURE
