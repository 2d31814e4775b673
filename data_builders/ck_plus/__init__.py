"""CK+, the Extended Cohn-Kanade data set."""
