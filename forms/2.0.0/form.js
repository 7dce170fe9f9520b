(function () {
    $.atoms["bk-plugin-demo"] = [
        {
            "type": "select",
            "attrs": {
                "name": "流程模板",
                "hookable": true,
                "remote": true,
                "remote_url": $.context.bk_plugin_api_host["bk-plugin-demo"] + "bk_plugin/plugin_api/task_list/2",
                "remote_data_init": function (tasks) {
                    return tasks;
                },
                "validation": [{"type": "required"}]
            },
            "events": [],
            "methods": {},
            "tag_code": "template_id"
        },
        {
            "type": "input",
            "attrs": {
                "name": "任务名称",
                "hookable": true,
                "validation": [{"type": "required"}]
            },
            "tag_code": "task_name"
        },
        {
            // One child for each global variable of the template.
            "type": "combine",
            "attrs": {
                "name": "任务全局变量",
                "hookable": true,
                "children": [
                    {
                        "type": "input",
                        "attrs": {
                            "name": "服务器 IP",
                            "hookable": true
                        },
                        "tag_code": "${ip}"
                    }
                ]
            },
            "tag_code": "constants"
        }
    ]
})();
