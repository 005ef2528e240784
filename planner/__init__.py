"""Forecast, curves and prices -> problem -> programme -> plan -> report."""
