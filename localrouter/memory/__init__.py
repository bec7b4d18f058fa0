"""Memory of models and of machines. All modules but `machine` and `devices` are pure."""
