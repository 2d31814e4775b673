"""Hand-crafted features and their classifier: the paper's baselines LBP-TOP and HOOF."""
