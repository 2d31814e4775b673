"""Packages of the wheel, in which `configs/` becomes `atnet_jax.configs`; see pyproject.toml."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["atnet_jax*", "data_builders*"]), "atnet_jax.configs"],
    package_dir={"atnet_jax.configs": "configs"},
)
