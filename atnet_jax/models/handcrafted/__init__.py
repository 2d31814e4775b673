"""Hand-crafted features and the support vector machines that classify them."""
