"""The packages of the wheel, where `configs/` lies within `atnet_jax`; see pyproject.toml."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["atnet_jax*", "data_builders*"]), "atnet_jax.configs"],
    package_dir={"atnet_jax.configs": "configs"},
)
