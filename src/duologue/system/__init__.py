"""What the operating system and the machine give: processes, processors, folders, signals."""
