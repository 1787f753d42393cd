"""What operators see and steer."""
