"""What stores over Redis's commands share, whatever their driver."""
