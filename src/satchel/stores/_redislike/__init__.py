"""Parts shared by stores over Redis's commands, whatever their driver."""
