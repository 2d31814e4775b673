"""A file whose get_config() gives something else."""


def get_config():
    return {"num_epochs": 3}
