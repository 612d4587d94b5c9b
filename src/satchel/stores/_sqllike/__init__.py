"""Parts shared by stores over SQL tables, whatever their driver."""
